"""DP-SGD of linear heads on a frozen encoder: one stream of views trains every ε and learning rate at once.

The encoder's forward pass over n K views is all of the cost; a private head is a hundred-thousandth of it. Heads share
the sample and the views of each step, and each has noise of its own, so that a head of a stream is the same, up to
rounding, as if it had been trained alone.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpmix.datasets import Images
from dpmix.errors import PrivacyError
from dpmix.experiment import Experiment
from dpmix.mixing import make_views, one_hot
from dpmix.privacy.head import append_one, head_clipped_sum, head_magnitudes
from dpmix.privacy.modes import CLIPPING
from dpmix.privacy.noise import NoiseSource
from dpmix.privacy.physical import PhysicalBatches
from dpmix.privacy.plan import Ledger, Plan
from dpmix.random import KeyedRandom, generator
from dpmix.training.averaging import update_average
from dpmix.training.checkpoint import Checkpoint
from dpmix.training.data import TrainingData, view_settings
from dpmix.training.loop import (
    draw_sample,
    epoch_ends,
    epoch_of,
    noise_source,
    percent_correct,
    remaining_steps,
)
from dpmix.training.outcome import Outcome
from dpmix.training.workers import ALONE, Workers

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

    def standardization(self) -> dict[str, Tensor]:
        """`shift` and `scale`, if there are any."""
        return {} if self.shift is None or self.scale is None else {"shift": self.shift, "scale": self.scale}

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


class _State:
    """Everything that the next step depends on, for all heads, and what was measured so far."""

    def __init__(self, heads: Sequence[Head], weights: Tensor, epochs: int) -> None:
        self.step = 0
        self.weights = weights
        self.velocity = torch.zeros_like(weights)
        self.average = weights.clone()
        self.ledgers = [Ledger() for _ in heads]
        self.accuracies: list[list[float]] = []
        self.longer = torch.zeros(len(heads), device=weights.device)
        self.sampled = 0
        self.seconds = 0.0
        self.magnitudes = {
            str(index): _Magnitudes(epochs, weights[index])
            for index, head in enumerate(heads)
            if head.record_magnitudes
        }

    def save(self, checkpoint: Checkpoint) -> None:
        tensors = {name: getattr(self, name) for name in ("weights", "velocity", "average", "longer")}
        checkpoint.save(
            {**tensors, **{f"magnitudes/{index}": record.sums for index, record in self.magnitudes.items()}},
            {
                "step": self.step,
                "ledgers": [ledger.to_json() for ledger in self.ledgers],
                "accuracies": self.accuracies,
                "sampled": self.sampled,
                "seconds": self.seconds,
                "counts": {index: record.counts for index, record in self.magnitudes.items()},
            },
        )

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        for name in ("weights", "velocity", "average", "longer"):
            setattr(self, name, tensors[name])
        for index, record in self.magnitudes.items():
            record.sums, record.counts = tensors[f"magnitudes/{index}"], list(values["counts"][index])
        self.ledgers = [Ledger.from_json(rows) for rows in values["ledgers"]]
        self.step, self.accuracies = values["step"], [list(epoch) for epoch in values["accuracies"]]
        self.sampled, self.seconds = values["sampled"], values["seconds"]


def train_heads(
    experiment: Experiment,
    heads: Sequence[Head],
    data: TrainingData,
    featurize: Featurizer,
    *,
    device: str = "cpu",
    physical_batch: int = 64,
    noise: NoiseSource | None = None,
    workers: Workers = ALONE,
    checkpoint: Checkpoint | None = None,
) -> list[Outcome]:
    """Train all heads of one stream.

    Args:
        experiment: whose views the heads see; its ε, C and learning rate are the heads' own.
        heads: plans that agree in N, B and steps.
        data: as `load_data` gives it.
        featurize: the frozen encoder.
        device: where views are made and encoded.
        physical_batch: examples whose views are encoded together; halved when memory runs out. The result does not
            depend on it beyond rounding.
        noise: where the Gaussian noise comes from; by default as `noise_source` says, keyed by the head's name.
        workers: the processes that share the encoder's work; the result is that of one.
        checkpoint: where the state is kept while the stream lasts, and taken up from if it is there.

    Raises:
        PrivacyError: if the heads' plans do not sample alike.
    """
    plan = heads[0].plan
    noise = noise or noise_source(experiment, plan)
    if any((h.plan.sampling_rate, h.plan.steps) != (plan.sampling_rate, plan.steps) for h in heads):
        raise PrivacyError("heads of one stream must have the same sampling rate and steps; train them apart")
    started = time.perf_counter()
    settings = view_settings(experiment)
    evaluation = featurize.of(data.evaluation, device)
    weights = _initial_weights(experiment, data, featurize, evaluation.shape[1], device).repeat(len(heads), 1, 1)
    state = _State(heads, weights, experiment.epochs)
    if checkpoint and (saved := checkpoint.load(device)):
        state.restore(*saved)
        started -= state.seconds
    column = {
        name: torch.tensor([getattr(head, name) for head in heads], device=device)[:, None, None]
        for name in ("learning_rate", "momentum", "weight_decay")
    }
    mode, batches = CLIPPING[experiment.clipping], PhysicalBatches(physical_batch)
    clip_norms = torch.tensor([head.plan.clip_norm for head in heads])
    limits = clip_norms[:, None].to(device)
    expected = torch.tensor([head.plan.expected_units for head in heads], device=device)[:, None, None]
    ends = epoch_ends(plan.steps, experiment.epochs)
    label = f"{experiment.dataset.name} {experiment.model.name} {experiment.method} seed {experiment.seed}"
    for step in remaining_steps(state.step, plan.steps, f"{label}, {len(heads)} heads", workers):
        chosen = draw_sample(experiment, plan, step, workers, device)
        epoch = epoch_of(step, plan.steps, experiment.epochs)
        total = torch.zeros_like(state.weights)
        longer = torch.zeros_like(state.longer)
        recorded = {index: torch.zeros_like(record.sums[epoch]) for index, record in state.magnitudes.items()}

        def clipped(part: np.ndarray, step: int = step) -> tuple[Tensor, Tensor, list[Tensor]]:
            views = make_views(
                data.private, part, settings, KeyedRandom(experiment.seed, step, part), data.mixed_in, device
            )
            n, k = views.images.shape[:2]
            features = featurize(views.images.flatten(0, 1)).view(n, k, -1)
            magnitudes = [head_magnitudes(features, views.targets, state.weights[int(i)]) for i in state.magnitudes]
            return *head_clipped_sum(features, views.targets, state.weights, clip_norms, mode=mode), magnitudes

        for part_sum, norms, magnitudes in batches.run(workers.share(chosen), clipped):
            total += part_sum
            longer += (norms > limits).sum(dim=1)
            for sums, more in zip(recorded.values(), magnitudes, strict=True):
                sums += more
        workers.add(total, longer, *recorded.values())
        if workers.leads:
            for head, one in zip(heads, total, strict=True):
                one.copy_(noise.add(one, head.plan.noise_std, step=step, name=head.name))
        direction = workers.agree(total) / expected + column["weight_decay"] * state.weights
        state.velocity = column["momentum"] * state.velocity + direction
        state.weights = state.weights - column["learning_rate"] * state.velocity
        if experiment.ema_decay:
            update_average(state.average, state.weights, experiment.ema_decay, step)
        for ledger, head in zip(state.ledgers, heads, strict=True):
            ledger.record(head.plan)
        for index, sums in recorded.items():
            state.magnitudes[index].add(epoch, sums, len(chosen))
        state.longer += longer
        state.sampled += len(chosen)
        state.step = step + 1
        kept = state.average if experiment.ema_decay else state.weights
        if state.step in ends:
            state.accuracies.append(_accuracies(evaluation, kept, data.evaluation.labels))
        state.seconds = time.perf_counter() - started
        if checkpoint and workers.leads and checkpoint.due and state.step < plan.steps:
            state.save(checkpoint)
    kept = state.average if experiment.ema_decay else state.weights
    return [
        Outcome(
            accuracies=[epoch[index] for epoch in state.accuracies],
            ledger=state.ledgers[index],
            learning_rate=head.learning_rate,
            clipped=round(float(state.longer[index]) / max(1, state.sampled), 6),
            seconds=state.seconds,
            magnitudes=state.magnitudes[str(index)].mean() if head.record_magnitudes else None,
            weights={"weight": kept[index, :, :-1], "bias": kept[index, :, -1], **featurize.standardization()},
        )
        for index, head in enumerate(heads)
    ]


class _Magnitudes:
    """Running means over examples of |g| before clipping, per epoch."""

    def __init__(self, epochs: int, weights: Tensor) -> None:
        self.sums = weights.new_zeros(epochs, *weights.shape)
        self.counts = [0] * epochs

    def add(self, epoch: int, sums: Tensor, count: int) -> None:
        self.sums[epoch] += sums
        self.counts[epoch] += count

    def mean(self) -> np.ndarray:
        """float32 [epochs, parameters]."""
        counts = torch.tensor(self.counts, device=self.sums.device).clamp_min(1)
        return (self.sums.flatten(1) / counts[:, None]).cpu().numpy()


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
