"""DP-SGD written down once more, for the trainers to be held against: float64, one unit at a time, torch.optim.SGD.

It shares with the trainers what other tests hold to account: who is sampled, and the views of a step. Gradients,
clipping, noise, steps, averages and measures are its own.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from dpmix.artefacts.experiment import Experiment
from dpmix.data.images import Images
from dpmix.models.features import Featurizer
from dpmix.models.networks import build_network
from dpmix.params.models import WideResNetSpec
from dpmix.privacy.plan import Plan
from dpmix.privacy.sampling import microbatches, poisson_sample
from dpmix.training.data import TrainingData, load_data
from dpmix.training.heads import Head, train_heads
from dpmix.training.outcome import Outcome
from dpmix.training.scratch import train_from_scratch
from dpmix.views.mixing import make_microbatch_views, make_views
from dpmix.views.sets import view_random
from dpmix.views.settings import ViewSettings
from tests.training.conftest import CLASSES, Recorder, blocks, plan_for

Weights = dict[str, Tensor]

# Of what is compared, in L2 norm: sums of some hundred float32 numbers, each off by some 1e-7 of its size.
ROUNDING = 1e-5
# A ReLU whose input is zero but for rounding is open in one arithmetic and shut in another, and takes a part of one
# example's gradient with it.
KINK = 0.03


@dataclass
class Pattern(Recorder):
    """A noise source that adds what the test can add too: numbers drawn anew at each call."""

    seen: dict[tuple[int, str], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def add(self, total: Tensor, std: float | Tensor, *, step: int, name: str) -> Tensor:
        """See `dpmix.privacy.noise.NoiseSource`."""
        total = super().add(total, std, step=step, name=name)
        unit = torch.randn(total.shape, generator=torch.Generator().manual_seed(len(self.calls)))
        self.seen[step, name] = total.double().clone(), unit.double()
        return total + unit * float(std)

    def of(self, step: int, name: str) -> tuple[Tensor, Tensor]:
        """A parameter's clipped sum as the trainer had it, and its noise of variance one."""
        return self.seen[step, name]

    def of_head(self, head: str) -> "Seen":
        """The same for one head's weight and bias, which the trainer keeps together with the bias last."""

        def seen(step: int, name: str) -> tuple[Tensor, Tensor]:
            total, unit = self.seen[step, head]
            return (total[:, :-1], unit[:, :-1]) if name == "weight" else (total[:, -1], unit[:, -1])

        return seen


Seen = Callable[[int, str], tuple[Tensor, Tensor]]


@dataclass
class Sequence:
    """What was computed, by step.

    Attributes:
        weights: initially and after each step.
        norms: of the gradients of the sampled units, before clipping.
        magnitudes: sums over the sampled units of |g|, before clipping.
        apart: how far the trainer's clipped sum was from the one computed here, relative to its length.
    """

    weights: list[Weights]
    norms: list[list[float]] = field(default_factory=list)
    magnitudes: list[Weights] = field(default_factory=list)
    apart: list[float] = field(default_factory=list)

    def all_norms(self) -> np.ndarray:
        """Norms of all steps, float64 [sampled]."""
        return np.concatenate([np.asarray(step) for step in self.norms])

    def compare(
        self,
        module: nn.Module,
        experiment: Experiment,
        plan: Plan,
        data: TrainingData,
        step: int,
        seen: "Seen",
        encode: Callable[[Tensor], Tensor],
    ) -> None:
        """Compute a step's clipped sum at the module's weights, and how far the trainer's is from it."""
        params = dict(module.named_parameters())
        own, magnitudes = ({name: torch.zeros_like(value) for name, value in params.items()} for _ in range(2))
        norms = []
        for images, targets in units(experiment, plan, data, step):
            logits = module(encode(images).double())
            loss = -(targets.double() * torch.log_softmax(logits, dim=1)).sum(dim=1).mean()
            gradient = dict(zip(params, torch.autograd.grad(loss, list(params.values())), strict=True))
            norms.append(length(gradient))
            for name, factor in factors(gradient, plan.clip_norm, experiment.clipping).items():
                own[name] += factor * gradient[name]
                magnitudes[name] += gradient[name].abs()
        apart = {name: seen(step, name)[0] - value for name, value in own.items()}
        self.apart.append(length(apart) / max(length(own), 1e-30))
        self.norms.append(norms)
        self.magnitudes.append(magnitudes)

    def check_sums(self, kinks: bool) -> None:
        """The trainer's sums were these: at every step, or but for the kinks of ReLU."""
        assert self.apart
        assert max(self.apart) < (KINK if kinks else ROUNDING), f"sums are apart by {max(self.apart):.2g}"
        assert float(np.median(self.apart)) < ROUNDING


def follow(
    module: nn.Module,
    experiment: Experiment,
    plan: Plan,
    data: TrainingData,
    seen: Seen,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    encode: Callable[[Tensor], Tensor] = lambda images: images,
    compare: bool = True,
) -> Sequence:
    """Train `module`, which is changed, as the experiment says, in the trainer's steps.

    Each step computes its own clipped sum and compares it with the trainer's, which it then goes on with: rounding
    would be multiplied by ten at each step of a network.

    Args:
        module: from encoded views to logits.
        experiment: views, clipping mode and seed.
        plan: steps, B, C and σ.
        data: what is trained on.
        seen: the trainer's clipped sum and the noise of variance one, for a step and a parameter's name.
        learning_rate: of `torch.optim.SGD`, as what follows.
        momentum: see there.
        weight_decay: see there.
        encode: what is done to views before the module sees them.
        compare: whether to compute sums at all; without them there are neither norms nor magnitudes.
    """
    module.double()
    params = dict(module.named_parameters())
    optimizer = torch.optim.SGD(params.values(), lr=learning_rate, momentum=momentum, weight_decay=weight_decay)
    found = Sequence([snapshot(params)])
    deviation = plan.noise_multiplier * plan.clip_norm * (1 if experiment.microbatch_size == 1 else 2)
    for step in range(plan.steps):
        if compare:
            found.compare(module, experiment, plan, data, step, seen, encode)
        for name, value in params.items():
            total, unit = seen(step, name)
            value.grad = (total + deviation * unit) / (plan.batch_size / experiment.microbatch_size)
        optimizer.step()
        found.weights.append(snapshot(params))
    return found


def units(experiment: Experiment, plan: Plan, data: TrainingData, step: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The views [K, C, R, R] and soft labels [K, classes] of each unit that a step samples."""
    e = experiment
    settings = ViewSettings(
        e.k_base, e.k_diff, e.k_self, e.mixup_alpha, e.mixup_pairs, e.transforms, e.padding, e.augment_synthetic,
        e.microbatch_size, e.microbatch_mixup, e.mixing,
    )  # fmt: skip
    chosen = poisson_sample(e.seed, step, plan.units, plan.sampling_rate)
    members = microbatches(plan.population, e.microbatch_size, seed=0)[chosen]
    if e.microbatch_size > 1:
        views = make_microbatch_views(data.private, members, settings, e.seed, step)
    else:
        # Networks number their units by the fixed grouping even where a unit is one record; heads take records.
        records = members[:, 0] if isinstance(e.model, WideResNetSpec) else chosen
        views = make_views(
            data.private, records, settings, view_random(e.seed, step, records, e.view_sets), data.mixed_in
        )
    yield from zip(views.images, views.targets, strict=True)


def factors(gradient: Mapping[str, Tensor], clip_norm: float, clipping: str) -> dict[str, float]:
    """By what each parameter's gradient is multiplied: Abadi et al.'s rule, AUTO-S, or C / sqrt(L) for each layer."""
    whole = length(gradient)
    if clipping == "flat":
        return dict.fromkeys(gradient, min(1.0, clip_norm / whole))
    if clipping == "auto-s":
        return dict.fromkeys(gradient, clip_norm / (whole + 0.01))
    layers: dict[str, Weights] = {}
    for name, value in gradient.items():
        layers.setdefault(name.rpartition(".")[0], {})[name] = value
    bound = clip_norm / len(layers) ** 0.5
    return {name: min(1.0, bound / length(layer)) for layer in layers.values() for name in layer}


def averages(weights: list[Weights], decay: float) -> list[Weights]:
    """The moving average initially and after each step, its decay warming up as (1 + t) / (10 + t)."""
    found = [weights[0]]
    for step, after in enumerate(weights[1:]):
        d = min(decay, (1 + step) / (10 + step))
        found.append({name: d * value + (1 - d) * after[name] for name, value in found[-1].items()})
    return found


def accuracy(
    module: nn.Module, weights: Weights, images: Images, encode: Callable[[Tensor], Tensor] = lambda images: images
) -> float:
    """Per cent of images that these weights classify correctly, as they are; no prediction hangs on rounding."""
    pixels = torch.from_numpy(np.array(images.images)).float() / 255
    with torch.no_grad():
        logits = functional_call(module.double(), weights, (encode(pixels).double(),))
    first, second = logits.topk(2, dim=1).values.unbind(dim=1)
    assert float((first - second).min()) > 1e-5 * float(logits.abs().max()), "another seed, or rounding decides"
    right = int((logits.argmax(dim=1).numpy() == images.labels).sum())
    return round(100 * right / len(images), 6)


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> None:
    """The same weights, up to float32's rounding on the way from `start`."""
    assert set(found) == set(expected)
    way = length({name: value - start[name] for name, value in expected.items()})
    apart = length({name: found[name].double() - value for name, value in expected.items()})
    assert way > 0
    assert apart <= ROUNDING * (way + length(start)), f"weights are apart by {apart / way:.2g} of the way"


def length(tensors: Mapping[str, Tensor]) -> float:
    """The L2 norm of all entries together."""
    return float(torch.cat([value.double().flatten() for value in tensors.values()]).norm())


def snapshot(params: Mapping[str, Tensor]) -> Weights:
    return {name: value.detach().clone() for name, value in params.items()}


# --- Runs and what they must be --------------------------------------------------------------------------------------

SHIFT, SCALE = torch.linspace(0.2, 0.6, 16), torch.linspace(0.5, 1.5, 16)


@dataclass
class Followed:
    """One trained model, and what the test computed of it."""

    experiment: Experiment
    plan: Plan
    data: TrainingData
    outcome: Outcome
    expected: Sequence
    module: nn.Module
    encode: Callable[[Tensor], Tensor]

    @property
    def trained(self) -> Mapping[str, Tensor]:
        """The model's parameters, as they were returned."""
        return {name: self.outcome.weights[name] for name in self.expected.weights[0]}

    def accuracies(self, weights: list[Weights]) -> list[float]:
        """Per cent of the evaluation images after each epoch, for weights initially and after each step."""
        ends = [epoch * self.plan.steps // self.experiment.epochs for epoch in range(1, self.experiment.epochs + 1)]
        return [accuracy(self.module, weights[end], self.data.evaluation, self.encode) for end in ends]


Train = Callable[..., Followed]


def network(experiment: Experiment, noise_multiplier: float, compare: bool = True) -> Followed:
    """A network from scratch, trained and followed."""
    assert isinstance(experiment.model, WideResNetSpec)
    assert isinstance(experiment.learning_rate, float)
    plan, data, pattern = plan_for(experiment.plan(), noise_multiplier), load_data(experiment, "demo"), Pattern([])
    outcome = train_from_scratch(experiment, plan, data, noise=pattern, block=7)
    module = build_network(experiment.model, experiment.dataset.channels, CLASSES, experiment.seed)
    optimizer = {name: getattr(experiment, name) for name in ("learning_rate", "momentum", "weight_decay")}
    expected = follow(module, experiment, plan, data, pattern.of, **optimizer, compare=compare)
    if compare:
        expected.check_sums(kinks=True)
    return Followed(experiment, plan, data, outcome, expected, module, lambda images: images)


def stream(experiment: Experiment, heads: Iterable[Head]) -> list[Followed]:
    """Heads on the stand-in for an encoder, features standardised by SHIFT and SCALE, trained and followed."""
    heads, data, pattern = list(heads), load_data(experiment, "demo"), Pattern([])
    featurize = Featurizer(blocks, SHIFT, SCALE)
    outcomes = train_heads(experiment, heads, data, featurize, noise=pattern, physical_batch=7)
    found = []
    for head, outcome in zip(heads, outcomes, strict=True):
        module, seen = zero_head(), pattern.of_head(head.name)
        optimizer = {name: getattr(head, name) for name in ("learning_rate", "momentum", "weight_decay")}
        expected = follow(module, experiment, head.plan, data, seen, encode=standardised, **optimizer)
        expected.check_sums(kinks=False)
        found.append(Followed(experiment, head.plan, data, outcome, expected, module, standardised))
    return found


def standardised(images: Tensor) -> Tensor:
    """Features of images [m, 3, R, R]: float64 [m, 16], centred and scaled."""
    return (blocks(images).double() - SHIFT) * SCALE


def zero_head() -> nn.Linear:
    """A linear head as training starts it."""
    layer = nn.Linear(16, CLASSES)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
