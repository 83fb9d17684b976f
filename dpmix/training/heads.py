"""DP-SGD of linear heads on a frozen encoder: heads of every method, ε and learning rate are trained at once.

In each step the encoder embeds the K views of each of the n sampled examples, but for those whose features are kept.
That is nearly all of the cost; a head adds about a hundred-thousandth of it. So all heads with the same samples (a
stream) share them: the union of the views of their methods passes through the encoder, each picture once, and every
head takes those that are its method's, while each has its own noise. Up to rounding, a head comes out as if it had been
trained alone. This is for research only: the sum of the ε of several heads bounds what they reveal together only if
their samples are independent, so a model for release is the only head of its stream.
"""

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpmix.artefacts.experiment import Experiment
from dpmix.errors import PrivacyError
from dpmix.execution import KEPT_BYTES, Watcher
from dpmix.models.features import Featurizer
from dpmix.privacy.linear_heads import head_clipped_sum, head_magnitudes
from dpmix.privacy.noise import NoiseSource
from dpmix.privacy.plan import Plan
from dpmix.random import generator
from dpmix.training.accuracy import percent_correct
from dpmix.training.checkpoint import Checkpoint
from dpmix.training.data import TrainingData
from dpmix.training.embedded_views import EmbeddedViews
from dpmix.training.inputs import clipping_mode
from dpmix.training.kept_crops import KeptCrops
from dpmix.training.learner import Diagnostics, Member, Sums
from dpmix.training.loop import train
from dpmix.training.outcome import Outcome
from dpmix.training.workers import ALONE, Workers
from dpmix.views.mixing import one_hot

_PRETRAINING_BATCH = 256

_PRETRAINING_RATE = 0.5


@dataclass(frozen=True)
class Head:
    """One head of a stream: what is trained, and how.

    Attributes:
        plan: its ε, clip norm C and noise.
        learning_rate: of plain SGD.
        name: the key that its noise is drawn under. Heads with the same name and noise source get the same noise, as
            candidates for a learning rate do, which are to differ by their rate alone.
        momentum: as in `torch.optim.SGD`, 0 for none.
        weight_decay: as in `torch.optim.SGD`.
        record_magnitudes: whether gradient magnitudes are recorded for Figure 2.
    """

    plan: Plan
    learning_rate: float
    name: str
    momentum: float = 0.0
    weight_decay: float = 0.0
    record_magnitudes: bool = False


@dataclass(frozen=True)
class Method:
    """One method of a stream: heads that are trained on the same views.

    Attributes:
        experiment: determines the views, how gradients are clipped, and pretraining. Its ε, C and learning rate are not
            used; each head has its own.
        data: of the methods of one stream, with the same private images, evaluation images and persons.
        heads: what is trained.
    """

    experiment: Experiment
    data: TrainingData
    heads: Sequence[Head]


class _Heads:
    """H linear heads as a `Learner`; their parameters are one tensor `weights`, float32 [H, classes, d + 1]."""

    def __init__(
        self, methods: Sequence[Method], featurize: Featurizer, weights: Tensor, evaluation: Tensor, device: str
    ) -> None:
        heads = [head for method in methods for head in method.heads]
        self.params = {"weights": weights}
        self.computed: Mapping[str, Any] = {"methods": len(methods)} if len(methods) > 1 else {}
        self._modes = [clipping_mode(method.experiment) for method in methods]
        self.members: Sequence[Member] = [
            Member(h.plan, h.learning_rate, h.momentum, h.weight_decay, mode.largest(["weights"], h.plan.clip_norm))
            for method, mode in zip(methods, self._modes, strict=True)
            for h in method.heads
        ]
        self._names = [head.name for head in heads]
        self._recorded = {str(index): index for index, head in enumerate(heads) if head.record_magnitudes}
        self._data = methods[0].data
        ends = np.cumsum([0, *(len(method.heads) for method in methods)]).tolist()
        self._ours = [slice(first, last) for first, last in itertools.pairwise(ends)]
        self._clip_norms = torch.tensor([head.plan.clip_norm for head in heads])
        self._limits = self._clip_norms[:, None].to(device)
        self._evaluation = evaluation
        self.views = EmbeddedViews(
            [method.experiment for method in methods], [method.data for method in methods], featurize, device
        )
        for method in methods:
            for head in method.heads:
                method.data.check_unit(method.experiment, head.plan)

    def of_member(self, tensors: Mapping[str, Tensor], member: int) -> dict[str, Tensor]:
        """See `Learner.of_member`."""
        return {self._names[member]: tensors["weights"][member]}

    def zero_sums(self) -> Sums:
        """See `Learner.zero_sums`."""
        weights = self.params["weights"]
        return Sums(
            {"weights": torch.zeros_like(weights)},
            torch.zeros(len(weights), dtype=torch.int64, device=weights.device),
            {name: torch.zeros_like(weights[index]) for name, index in self._recorded.items()},
        )

    def sums(self, units: np.ndarray, step: int) -> Sums:
        """See `Learner.sums`."""
        if self._data.persons is not None:
            units = self._data.persons.present(units)
            if not len(units):
                return self.zero_sums()
        weights, sums = self.params["weights"], self.zero_sums()
        for index, (features, targets) in enumerate(self.views.of(units, step)):
            ours = self._ours[index]
            total, norms = head_clipped_sum(
                features, targets, weights[ours], self._clip_norms[ours], mode=self._modes[index]
            )
            sums.totals["weights"][ours] = total
            sums.num_clipped[ours] = (norms > self._limits[ours]).sum(dim=1)
            for name, head in self._recorded.items():
                if ours.start <= head < ours.stop:
                    sums.records[name] += head_magnitudes(features, targets, weights[head])
        return sums

    def shares(self) -> list[float]:
        """Of each head, the share of the views that pass which are its own; the sum may be above 1."""
        counts = [ours.stop - ours.start for ours in self._ours]
        return [share for share, count in zip(self.views.shares(), counts, strict=True) for _ in range(count)]

    def accuracies(self, weights: Mapping[str, Tensor], workers: Workers) -> list[float]:
        """See `Learner.accuracies`."""
        labels = self._data.evaluation.labels
        return [percent_correct((self._evaluation @ head.T).argmax(dim=1), labels) for head in weights["weights"]]


def train_heads(
    experiment: Experiment, heads: Sequence[Head], data: TrainingData, featurize: Featurizer, **how: Any
) -> list[Outcome]:
    """Train all heads of one method.

    Args:
        experiment: determines the views. Its ε, C and learning rate are not used; each head has its own.
        heads: their plans must have the same N, B and steps.
        data: as `load_data` returns it.
        featurize: the frozen encoder.
        how: as `train_methods` takes it.

    Returns:
        An outcome for each head, in order; see `train_methods`.

    Raises:
        PrivacyError: see `train_methods`.
    """
    return train_methods([Method(experiment, data, heads)], featurize, **how)


def train_methods(
    methods: Sequence[Method],
    featurize: Featurizer,
    *,
    device: str = "cpu",
    physical_batch: int = 64,
    noise: NoiseSource | None = None,
    workers: Workers = ALONE,
    checkpoint: Checkpoint | None = None,
    watcher: Watcher | None = None,
    kept_bytes: float = KEPT_BYTES,
    folder: Path | None = None,
    crops: KeptCrops | None = None,
) -> list[Outcome]:
    """Train all heads of one stream.

    Args:
        methods: whose experiments have the same stream. The plans of all heads must have the same N, B and steps.
        featurize: the frozen encoder.
        device: where views are made and encoded.
        physical_batch: examples whose views are encoded together; halved when memory runs out. The result does not
            depend on it beyond rounding.
        noise: the source of all heads' Gaussian noise, keyed by the head's name; by default `plan.noise` of each head.
        workers: the processes that share the work. The result is that of one process, up to rounding.
        checkpoint: the file for the state of the unfinished stream; if it exists, training continues from it.
        watcher: follows the run in place of a progress bar.
        kept_bytes: what features of views that come again may take, of all processes together; 0 keeps none. The
            result does not depend on it beyond rounding.
        folder: for what of them exceeds the memory that is meant for them; by default that of temporary files.
        crops: those that the streams of one job share; by default this stream has its own.

    Returns:
        An outcome for each head, method by method, with `weight` [classes, d], `bias` [classes] and, for standardised
        features, `shift` [d] and `scale` [d]. Of the time that all took together, each has the share of the views that
        passed which are its own.

    Raises:
        PrivacyError: if the methods are not of one stream, the heads' plans do not sample alike or protect another unit
            than is sampled, or several models for release would share a sample.
    """
    experiment, data = methods[0].experiment, methods[0].data
    heads = [head for method in methods for head in method.heads]
    if len(methods) > 1 and len({method.experiment.stream() for method in methods}) > 1:
        raise PrivacyError("methods of one stream must have the same data, encoder, seed and samples; train them apart")
    sampler = heads[0].plan.sampler(experiment.private_seed)
    if any(h.plan.sampler(experiment.private_seed) != sampler or h.plan.steps != heads[0].plan.steps for h in heads):
        raise PrivacyError("heads of one stream must have the same sampling rate and steps; train them apart")
    if experiment.release and len(heads) > 1:
        raise PrivacyError(
            "models for release that share one secret sample would reveal more together than the sum of their ε; "
            "train each in a stream of its own"
        )
    evaluation = featurize.of(data.evaluation, device)
    first = torch.cat([
        _initial_weights(method, featurize, evaluation.shape[1], device).repeat(len(method.heads), 1, 1)
        for method in methods
    ])  # fmt: skip
    learner = _Heads(methods, featurize, first, evaluation, device)
    began = time.perf_counter()
    learner.views.keep_crops(
        crops or KeptCrops([[one.experiment for one in methods]], kept_bytes, folder, workers.count),
        evaluation.shape[1],
        workers.count,
    )
    learner.views.keep(heads[0].plan, evaluation.shape[1], kept_bytes, folder, physical_batch, workers.count)
    diagnostics = None if experiment.release else Diagnostics(learner, experiment.begun_epochs)
    if diagnostics:
        diagnostics.seconds = time.perf_counter() - began
    names = ", ".join(dict.fromkeys(method.experiment.method for method in methods))
    label = f"{experiment.dataset.name} {experiment.model.name} {names} seed {experiment.seed}"
    outcomes = train(
        learner,
        epochs=experiment.begun_epochs,
        sampler=sampler,
        noises=[noise or head.plan.noise(experiment.private_seed) for head in heads],
        physical_batch=physical_batch,
        ema_decay=experiment.ema_decay,
        diagnostics=diagnostics,
        workers=workers,
        checkpoint=checkpoint,
        label=f"{label}, {len(heads)} heads",
        device=device,
        watcher=watcher,
    )
    for index, (head, outcome, share) in enumerate(zip(heads, outcomes, learner.shares(), strict=True)):
        (matrix,) = outcome.weights.values()
        outcome.weights = {"weight": matrix[:, :-1], "bias": matrix[:, -1], **featurize.standardization()}
        if outcome.seconds is not None:
            outcome.seconds *= share
        if head.record_magnitudes and diagnostics:
            outcome.magnitudes = diagnostics.mean_record(str(index))
    return outcomes


def _initial_weights(method: Method, featurize: Featurizer, dimension: int, device: str) -> Tensor:
    """The initial weights of a method's heads, float32 [1, classes, d + 1].

    Zeros, or with `pretrain_epochs` the weights after that many epochs of plain SGD on D (Table 6). Training a linear
    head is convex, so zeros are a good start; random weights would first have to be undone by noisy steps.
    """
    experiment, data = method.experiment, method.data
    weights = torch.zeros(experiment.dataset.classes, dimension, device=device)
    if not experiment.pretrain_epochs:
        return weights[None]
    assert data.public is not None
    features = featurize.of(data.public, device)
    targets = one_hot(data.public.labels, experiment.dataset.classes).to(device)
    layer = torch.nn.Linear(dimension, experiment.dataset.classes, bias=False, device=device)
    layer.weight.data.copy_(weights)
    optimizer = torch.optim.SGD(layer.parameters(), lr=_PRETRAINING_RATE, momentum=0.9)
    for epoch in range(experiment.pretrain_epochs):
        order = torch.from_numpy(generator(experiment.seed, "pretrain", epoch).permutation(len(features)))
        for part in order.split(_PRETRAINING_BATCH):
            part = part.to(device)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(layer(features[part]), targets[part]).backward()
            optimizer.step()
    return layer.weight.detach()[None]
