"""DP-SGD of linear heads on a frozen encoder: one stream of views trains every ε and learning rate at once.

The encoder's forward pass over n K views is all of the cost; a private head is a hundred-thousandth of it. Heads share
the sample and the views of each step, and each has noise of its own, so that a head of a stream is the same, up to
rounding, as if it had been trained alone.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dpmix.datasets import Images
from dpmix.errors import PrivacyError
from dpmix.experiment import Experiment
from dpmix.mixing import make_views, one_hot
from dpmix.privacy.head import append_one, head_clipped_sum, head_magnitudes
from dpmix.privacy.noise import NoiseSource, Research
from dpmix.privacy.plan import Ledger, Plan
from dpmix.privacy.sampling import poisson_sample
from dpmix.progress import progress
from dpmix.random import KeyedRandom, generator
from dpmix.training.data import TrainingData, view_settings
from dpmix.training.loop import epoch_ends, epoch_of, percent_correct, physical_batches
from dpmix.training.outcome import Outcome

Encode = Callable[[Tensor], Tensor]

_PRETRAINING_BATCH = 256
_PRETRAINING_RATE = 0.5


@dataclass(frozen=True)
class Head:
    """One head of a stream: its plan (ε, C, noise), its learning rate, and a name that keys its noise."""

    plan: Plan
    learning_rate: float
    name: str
    momentum: float = 0.0
    weight_decay: float = 0.0
    record_magnitudes: bool = False


@dataclass(frozen=True)
class Featurizer:
    """Images to the features that a head sees: float32 [m, C, R, R] -> [m, d + 1], standardised, constant 1 last.

    `shift` and `scale`, float32 [d], come from public data alone, so they cost no privacy.
    """

    encode: Encode
    shift: Tensor | None = None
    scale: Tensor | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Images float32 [m, C, R, R] in [0, 1] to features [m, d + 1]."""
        features = self.encode(images).float()
        if self.shift is not None and self.scale is not None:
            features = (features - self.shift) * self.scale
        return append_one(features)

    def of(self, images: Images, device: str, batch: int = 512) -> Tensor:
        """Features of a whole set, unaugmented, float32 [N, d + 1]."""
        parts = []
        for start in range(0, len(images), batch):
            part = torch.from_numpy(np.array(images.images[start : start + batch])).to(device)
            parts.append(self(part.float() / 255))
        return torch.cat(parts)

    @staticmethod
    def standardized(encode: Encode, public: Images, device: str) -> "Featurizer":
        """Features centred and scaled by D's statistics, and divided by sqrt(d) so that a typical norm is one."""
        raw = Featurizer(encode).of(public, device)[:, :-1]
        deviation = raw.std(dim=0).clamp_min(1e-6)
        return Featurizer(encode, raw.mean(dim=0), 1 / (deviation * raw.shape[1] ** 0.5))


def train_heads(
    experiment: Experiment,
    heads: Sequence[Head],
    data: TrainingData,
    featurize: Featurizer,
    *,
    device: str = "cpu",
    physical_batch: int = 64,
    noise: NoiseSource | None = None,
) -> list[Outcome]:
    """Train all heads of one stream.

    Args:
        experiment: whose views the heads see; its ε, C and learning rate are the heads' own.
        heads: plans that agree in N, B and steps.
        data: as `load_data` gives it.
        featurize: the frozen encoder.
        device: where views are made and encoded.
        physical_batch: examples whose views are encoded together; the result does not depend on it beyond rounding.
        noise: where the Gaussian noise comes from; by default keyed by the experiment's seed and the head's name.

    Raises:
        PrivacyError: if the heads' plans do not sample alike.
    """
    started = time.perf_counter()
    noise = noise or Research(experiment.seed)
    plan = heads[0].plan
    if any((h.plan.sampling_rate, h.plan.steps) != (plan.sampling_rate, plan.steps) for h in heads):
        raise PrivacyError("heads of one stream must have the same sampling rate and steps; train them apart")
    settings = view_settings(experiment)
    evaluation = featurize.of(data.evaluation, device)
    weights = _initial_weights(experiment, data, featurize, evaluation.shape[1], device).repeat(len(heads), 1, 1)
    velocity = torch.zeros_like(weights)
    column = {
        name: torch.tensor([getattr(head, name) for head in heads], device=device)[:, None, None]
        for name in ("learning_rate", "momentum", "weight_decay")
    }
    clip_norms = torch.tensor([head.plan.clip_norm for head in heads], device=device)
    magnitudes = {i: _Magnitudes(experiment.epochs) for i, head in enumerate(heads) if head.record_magnitudes}
    ends = epoch_ends(plan.steps, experiment.epochs)
    accuracies: list[list[float]] = []
    ledgers = [Ledger() for _ in heads]
    longer = torch.zeros(len(heads), device=device)
    sampled = 0
    label = f"{experiment.dataset.name} {experiment.model.name} {experiment.method} seed {experiment.seed}"
    for step in progress(range(plan.steps), f"{label}, {len(heads)} heads"):
        chosen = poisson_sample(experiment.seed, step, plan.units, plan.sampling_rate)
        total = torch.zeros_like(weights)
        for part in physical_batches(chosen, physical_batch):
            random = KeyedRandom(experiment.seed, step, part)
            views = make_views(data.private, part, settings, random, data.mixed_in, device)
            n, k = views.images.shape[:2]
            features = featurize(views.images.flatten(0, 1)).view(n, k, -1)
            part_sum, norms = head_clipped_sum(features, views.targets, weights, clip_norms)
            total += part_sum
            longer += (norms > clip_norms[:, None]).sum(dim=1)
            for index, record in magnitudes.items():
                record.add(epoch_of(step, plan.steps, experiment.epochs), features, views.targets, weights[index])
        sampled += len(chosen)
        for index, head in enumerate(heads):
            total[index] = noise.add(total[index], head.plan.noise_std, step=step, name=head.name)
        expected = torch.tensor([head.plan.expected_units for head in heads], device=device)[:, None, None]
        velocity = column["momentum"] * velocity + total / expected + column["weight_decay"] * weights
        weights = weights - column["learning_rate"] * velocity
        for ledger, head in zip(ledgers, heads, strict=True):
            ledger.record(head.plan)
        if step + 1 in ends:
            accuracies.append(_accuracies(evaluation, weights, data.evaluation.labels))
    seconds = time.perf_counter() - started
    return [
        Outcome(
            accuracies=[epoch[index] for epoch in accuracies],
            ledger=ledgers[index],
            learning_rate=head.learning_rate,
            clipped=round(float(longer[index]) / max(1, sampled), 6),
            seconds=seconds,
            magnitudes=magnitudes[index].mean() if index in magnitudes else None,
        )
        for index, head in enumerate(heads)
    ]


class _Magnitudes:
    """Running means over examples of |g| before clipping, per epoch."""

    def __init__(self, epochs: int) -> None:
        self.sums: list[Tensor | float] = [0.0] * epochs
        self.counts = [0] * epochs

    def add(self, epoch: int, features: Tensor, targets: Tensor, weights: Tensor) -> None:
        self.sums[epoch] = self.sums[epoch] + head_magnitudes(features, targets, weights)
        self.counts[epoch] += len(features)

    def mean(self) -> np.ndarray:
        rows = [torch.as_tensor(total) / max(1, count) for total, count in zip(self.sums, self.counts, strict=True)]
        return torch.stack([row.flatten() for row in rows]).cpu().numpy()


def _accuracies(features: Tensor, weights: Tensor, labels: np.ndarray) -> list[float]:
    return [percent_correct((features @ head.T).argmax(dim=1), labels) for head in weights]


def _initial_weights(
    experiment: Experiment, data: TrainingData, featurize: Featurizer, dimension: int, device: str
) -> Tensor:
    """float32 [1, classes, d + 1]: zeros, then SGD on D if pretraining is asked for (Table 6).

    The problem is convex, so zeros break no symmetry that matters, and unlike random weights they are nothing that
    the noisy steps must first undo.
    """
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
        order = torch.randperm(len(features), generator=generator(experiment.seed, "pretrain", epoch))
        for part in order.split(_PRETRAINING_BATCH):
            part = part.to(device)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(layer(features[part]), targets[part]).backward()
            optimizer.step()
    return layer.weight.detach()[None]
