"""Tiny real training runs, and what every one of them must keep to.

`test_rules` asserts that the code passes each check; `test_mutations` breaks the code and asserts that the check fails.
A check runs the trainers themselves, with a noise source that keeps a record of every sum it is handed. With a learning
rate of zero the weights never change, so that sums of different runs and steps can be compared.

Long because the rules are one list that every trainer goes through.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from dpmix.artefacts.experiment import Experiment
from dpmix.data.images import Images
from dpmix.models.features import Featurizer
from dpmix.params.models import EncoderSpec, WideResNetSpec
from dpmix.params.specs import DatasetSpec
from dpmix.privacy import cyclic_sampling, sampling
from dpmix.privacy.clipping import clipped_sum
from dpmix.privacy.ledger import Ledger
from dpmix.privacy.loss import ExampleLoss
from dpmix.privacy.modes import AutoS, Clipping, Flat, PerLayer
from dpmix.privacy.noise import NoiseSource
from dpmix.privacy.plan import Plan
from dpmix.privacy.sampling import executed_rate, microbatches
from dpmix.training import embedded_views
from dpmix.training import heads as head_module
from dpmix.training import network as network_module
from dpmix.training import scratch as scratch_module
from dpmix.training.data import TrainingData
from dpmix.training.heads import Head, train_heads
from dpmix.training.physical_batches import PhysicalBatches
from dpmix.training.scratch import train_from_scratch
from dpmix.views.mixing import Views
from tests.privacy import architectures

CLASSES, SIDE, FEATURES = 3, 8, 160
SIGMA, SEED = 40.0, 7
# Sums of float32 numbers in different orders.
ROUNDING = 1e-4


@dataclass(frozen=True)
class Case:
    """One configuration of one trainer. `clip_norms` has one entry for each head; a network has one."""

    trainer: str
    clip_norms: tuple[float, ...]
    population: int = 8
    batch_size: int = 5
    steps: int = 3
    k: tuple[int, int, int] = (2, 0, 2)
    pairs: str = "distinct"
    microbatch_size: int = 1
    microbatch_mixup: str = "none"
    damaged: int | None = None  # the record whose features are not finite
    view_sets: int = 0
    kept: bool = False  # whether features of views that come again are

    @property
    def clipping_module(self) -> Any:
        """Which module clips and adds up."""
        return head_module if self.trainer == "head" else scratch_module

    @property
    def views_module(self) -> Any:
        """Which module groups microbatches and makes views."""
        return embedded_views if self.trainer == "head" else network_module

    @property
    def expected_units(self) -> float:
        return self.batch_size / self.microbatch_size

    def bound(self, clip_norm: float) -> float:
        """The sensitivity that the paper's section 3 claims: C, or 2C where microbatches are the units."""
        return clip_norm if self.microbatch_size == 1 else 2 * clip_norm


SCRATCH = Case("scratch", (0.05,))
SCRATCH_DIFFUSION = Case("scratch", (0.05,), k=(1, 2, 1))
SCRATCH_PURE = Case("scratch", (0.05,), k=(0, 3, 1))
MICROBATCHES = Case("scratch", (0.05,), k=(2, 0, 0), microbatch_size=2, population=7, batch_size=4, steps=5)
MICROBATCHES_ADDED = replace(MICROBATCHES, microbatch_mixup="added")
MICROBATCHES_ALONE = replace(MICROBATCHES, microbatch_mixup="alone")
HEADS = Case("head", (0.05, 0.5), pairs="independent")
HEADS_DIFFUSION = Case("head", (0.05, 0.5), k=(1, 3, 2))
HEADS_DAMAGED = replace(HEADS, damaged=3)
SCRATCH_SETS = replace(SCRATCH_DIFFUSION, view_sets=2)
HEADS_SETS = replace(HEADS_DIFFUSION, view_sets=2)
HEADS_KEPT = replace(HEADS_SETS, kept=True)
CASES = {
    "scratch": SCRATCH,
    "scratch, synthetic": SCRATCH_DIFFUSION,
    "scratch, synthetic alone": SCRATCH_PURE,
    "microbatches": MICROBATCHES,
    "microbatches, mixture added": MICROBATCHES_ADDED,
    "microbatches, mixture alone": MICROBATCHES_ALONE,
    "heads": HEADS,
    "heads, synthetic": HEADS_DIFFUSION,
    "heads, damaged record": HEADS_DAMAGED,
    "scratch, two sets of views": SCRATCH_SETS,
    "heads, two sets of views": HEADS_SETS,
}
# The same with C among the norms of the gradients, so that some are clipped and some are not.
MIDDLING = {
    "scratch": replace(SCRATCH, clip_norms=(4.9,)),
    "scratch, synthetic": replace(SCRATCH_DIFFUSION, clip_norms=(4.2,)),
    "microbatches": replace(MICROBATCHES, clip_norms=(3.7,)),
    "microbatches, mixture added": replace(MICROBATCHES_ADDED, clip_norms=(3.6,)),
    "microbatches, mixture alone": replace(MICROBATCHES_ALONE, clip_norms=(4.7,)),
    "heads": replace(HEADS, clip_norms=(0.9, 1.25)),
    "heads, synthetic": replace(HEADS_DIFFUSION, clip_norms=(0.5, 0.9)),
    "heads, damaged record": replace(HEADS_DAMAGED, clip_norms=(0.9, 1.25)),
}


class Recorder:
    """A noise source that keeps what it is handed and what it returns. `loud` adds a fixed pattern, else nothing."""

    def __init__(self, loud: bool = False) -> None:
        self.loud = loud
        self.calls: list[tuple[int, str, float, Tensor, Tensor]] = []

    def add(self, total: Tensor, std: float | Tensor, *, step: int, name: str) -> Tensor:
        generator = torch.Generator().manual_seed(len(self.calls))
        pattern = torch.randn(total.shape, generator=generator) * float(std) if self.loud else torch.zeros_like(total)
        self.calls.append((step, name, float(std), total.clone(), total + pattern))
        return total + pattern

    def sums(self, case: Case) -> list[list[Tensor]]:
        """The clipped sums by step, one flat vector for each head or for the network, as they were before noise."""
        steps: list[list[Tensor]] = []
        for step in range(case.steps):
            flat = [total.flatten() for at, _, _, total, _ in self.calls if at == step]
            steps.append(flat if case.trainer == "head" else [torch.cat(flat)])
        return steps


@dataclass
class Run:
    """What a run was seen to do."""

    ledgers: list[Ledger]
    weights: list[Tensor]  # flat, for each head or for the network
    initial: list[Tensor]
    plans: list[Plan]
    network: torch.nn.Module | None
    views: list[tuple[int, np.ndarray, Views]] = field(default_factory=list)  # step, units, views
    rates: list[tuple[int, float]] = field(default_factory=list)  # population and rate of each sample


def experiment(case: Case, learning_rate: float) -> Experiment:
    base, diffusion, mixed = case.k
    # What is mixed in is the other half of a data set of twice the size.
    halves: dict[str, Any] = {"subset": "S1", "mix_with": "S2"} if diffusion else {}
    train = 2 * case.population if diffusion else case.population
    sizes = {"classes": CLASSES, "train": train, "test": 4, "channels": 1}
    network = WideResNetSpec(
        kind="wide-resnet", name="tiny", label="Tiny", depth=10, width=1, groups=2, base_channels=4, resolution=SIDE
    )
    encoder = EncoderSpec(
        kind="encoder", name="tiny", label="Tiny", architecture="none", weights="none", resolution=SIDE
    )
    return Experiment(
        dataset=DatasetSpec(name="tiny", label="Tiny", source="scikit-learn", **sizes),
        model=encoder if case.trainer == "head" else network,
        method="dp-mix",
        synthetic=None,
        **halves,
        epsilon=8,
        delta=1e-5,
        accountant="pld",
        clip_norm=case.clip_norms[0],
        batch_size=case.batch_size,
        epochs=1,
        learning_rate=learning_rate,
        k_base=base,
        k_diff=diffusion,
        k_self=mixed,
        mixup_pairs=case.pairs,
        transforms=("crop", "flip"),
        padding=1,
        microbatch_size=case.microbatch_size,
        microbatch_mixup=case.microbatch_mixup,
        view_sets=case.view_sets,
        seed=SEED,
    )


def images(count: int, seed: int) -> Images:
    random = np.random.default_rng(seed)
    pixels = random.integers(1, 255, (count, 1, SIDE, SIDE)).astype(np.uint8)
    labels = random.integers(0, CLASSES, count)
    return Images(pixels, labels, tuple(f"class {index}" for index in range(CLASSES)))


def training_data(case: Case, replaced: int | None = None) -> TrainingData:
    """Random images; the record `replaced` is overwritten by quite another image and label."""
    private = images(case.population, seed=1)
    if replaced is not None:
        private.images[replaced] = np.where(np.indices((SIDE, SIDE)).sum(axis=0) % 2, 254, 1)[None]
        private.labels[replaced] = (private.labels[replaced] + 1) % CLASSES
    if case.damaged is not None:
        private.images[case.damaged] = 0
    mixed_in = images(6, seed=2)
    return TrainingData(private, images(4, seed=3), mixed_in, mixed_in)


def encode(pixels: Tensor) -> Tensor:
    """A frozen random network, whose features of an image with black pixels only are not finite."""
    weight = torch.randn(SIDE * SIDE, FEATURES, generator=torch.Generator().manual_seed(5)) / SIDE
    features = torch.tanh((pixels.flatten(1) - 0.5) @ weight * 4) / FEATURES**0.5
    return torch.where(pixels.flatten(1).amax(dim=1, keepdim=True) > 0, features, torch.nan)


def head_weights() -> Tensor:
    return torch.randn(1, CLASSES, FEATURES + 1, generator=torch.Generator().manual_seed(6))


def plans(case: Case) -> list[Plan]:
    return [
        Plan(
            population=case.population,
            batch_size=case.batch_size,
            steps=case.steps,
            clip_norm=clip_norm,
            noise_multiplier=SIGMA,
            delta=1e-5,
            microbatch_size=case.microbatch_size,
        )
        for clip_norm in case.clip_norms
    ]


def run(
    case: Case,
    noise: NoiseSource | None,
    *,
    absent: Collection[int] = (),
    replaced: int | None = None,
    physical_batch: int = 64,
    learning_rate: float = 0.0,
) -> Run:
    """Train, without the records `absent`, and look on."""
    seen = Run([], [], [], plans(case), None)
    data = training_data(case, replaced)
    with pytest.MonkeyPatch.context() as patch:
        _leave_out(patch, case, absent, seen)
        _look_at_views(patch, case, seen)
        spec = experiment(case, learning_rate)
        if case.trainer == "head":
            _look_at_heads(patch, seen)
            heads = [Head(plan, learning_rate, f"C={plan.clip_norm:g}") for plan in seen.plans]
            outcomes = train_heads(
                spec, heads, data, Featurizer(encode), physical_batch=physical_batch, noise=noise,
                kept_bytes=1e6 if case.kept else 0,
            )  # fmt: skip
            seen.initial = [head_weights().flatten()] * len(heads)
        else:
            _look_at_network(patch, seen)
            (plan,) = seen.plans
            outcomes = [train_from_scratch(spec, plan, data, block=physical_batch, noise=noise)]
            seen.weights = [torch.cat([value.detach().flatten() for value in seen.network.parameters()])]
    seen.ledgers = [outcome.ledger for outcome in outcomes]
    return seen


def _leave_out(patch: pytest.MonkeyPatch, case: Case, absent: Collection[int], seen: Run) -> None:
    """A record that has left keeps its index, which stands for nobody: it adds nothing, or is an empty slot."""
    sample, by_turns, run = sampling.poisson_sample, cyclic_sampling.cyclic_poisson_sample, PhysicalBatches.run

    def counted(seed: int, step: int, population: int, rate: float) -> np.ndarray:
        seen.rates.append((population, rate))
        return sample(seed, step, population, rate)

    def counted_by_turns(seed: int, step: int, *sizes: int) -> np.ndarray:
        seen.rates.append((sizes[0], sizes[1] / sizes[0]))
        return by_turns(seed, step, *sizes)

    patch.setattr(sampling, "poisson_sample", counted)
    patch.setattr(cyclic_sampling, "cyclic_poisson_sample", counted_by_turns)
    if case.microbatch_size == 1:

        def without(self: PhysicalBatches, units: np.ndarray, compute: Callable[[np.ndarray], Any]) -> Any:
            return run(self, units[~np.isin(units, list(absent))], compute)

        patch.setattr(PhysicalBatches, "run", without)
    if case.microbatch_size > 1:
        group = case.views_module.microbatches

        def with_empty_slots(population: int, size: int, seed: int) -> np.ndarray:
            units = group(population, size, seed)
            return np.where(np.isin(units, list(absent)), -1, units)

        patch.setattr(case.views_module, "microbatches", with_empty_slots)


def _look_at_views(patch: pytest.MonkeyPatch, case: Case, seen: Run) -> None:
    name = "make_microbatch_views" if case.microbatch_size > 1 else "make_views"
    make = getattr(case.views_module, name)

    def kept(private: Images, units: np.ndarray, *args: Any, **kwargs: Any) -> Views:
        views = make(private, units, *args, **kwargs)
        seen.views.append((len(seen.rates) - 1, np.array(units), views))
        return views

    patch.setattr(case.views_module, name, kept)


def _look_at_heads(patch: pytest.MonkeyPatch, seen: Run) -> None:
    measure = head_module._Heads.accuracies

    def kept(self: Any, weights: Any, workers: Any) -> list[float]:
        seen.weights = [head.flatten().clone() for head in weights["weights"]]
        return measure(self, weights, workers)

    patch.setattr(head_module._Heads, "accuracies", kept)
    patch.setattr(head_module, "_initial_weights", lambda *_: head_weights())


def _look_at_network(patch: pytest.MonkeyPatch, seen: Run) -> None:
    build = scratch_module.build_network

    def kept(*args: Any) -> torch.nn.Module:
        seen.network = build(*args)
        seen.initial = [torch.cat([value.detach().clone().flatten() for value in seen.network.parameters()])]
        return seen.network

    patch.setattr(scratch_module, "build_network", kept)


def sums(case: Case, **options: Any) -> list[list[Tensor]]:
    recorder = Recorder()
    run(case, recorder, **options)
    return recorder.sums(case)


def unit_of(case: Case, record: int) -> list[int]:
    """The records of a record's unit of sampling, itself included."""
    units = microbatches(case.population, case.microbatch_size, seed=0)
    return [int(one) for one in units[(units == record).any(axis=1)][0] if one >= 0]


# --- Rule 3: sensitivity ---------------------------------------------------------------------------------------------


def check_sensitivity(case: Case) -> None:
    """Adding or removing any one record moves the clipped sum by at most C, or 2C where microbatches are sampled."""
    whole = sums(case)
    furthest = [0.0] * len(case.clip_norms)
    for record in range(case.population):
        for step, parts in enumerate(sums(case, absent=[record])):
            for index, (clip_norm, without) in enumerate(zip(case.clip_norms, parts, strict=True)):
                moved = float((whole[step][index] - without).norm())
                assert moved <= case.bound(clip_norm) * (1 + ROUNDING), f"record {record} moved step {step} by {moved}"
                furthest[index] = max(furthest[index], moved / clip_norm)
    # The bound is put to the test only if somebody's gradient is clipped.
    assert furthest[0] > 0.4


def check_own_contribution(case: Case) -> None:
    """Removing a record takes away its own part, and changes nobody else's."""
    whole, everybody = sums(case), set(range(case.population))
    for record in range(0, case.population, 3):
        unit = unit_of(case, record)
        without = sums(case, absent=[record])
        alone = sums(case, absent=everybody - set(unit))
        rest = sums(case, absent=everybody - set(unit) | {record})
        for step in range(case.steps):
            for index, clip_norm in enumerate(case.clip_norms):
                taken_away = whole[step][index] - without[step][index]
                own = alone[step][index] - rest[step][index]
                assert float((taken_away - own).norm()) <= ROUNDING * clip_norm, f"record {record} changed others"


def check_no_other_path(case: Case) -> None:
    """A record overwritten by another moves the sum by at most 2C, and not at all in a step that did not sample it."""
    recorder, idle = Recorder(), 0
    whole = run(case, recorder)
    before = recorder.sums(case)
    for record in range(0, case.population, 3):
        after = sums(case, replaced=record)
        for step in range(case.steps):
            sampled = any(at == step and record in units for at, units, _ in whole.views)
            idle += not sampled
            for index, clip_norm in enumerate(case.clip_norms):
                if sampled:
                    moved = float((before[step][index] - after[step][index]).norm())
                    assert moved <= 2 * clip_norm * (1 + ROUNDING)
                else:
                    assert torch.equal(before[step][index], after[step][index]), f"record {record} leaked"
    assert idle


# --- Public data -----------------------------------------------------------------------------------------------------


def _pretrained(data: TrainingData) -> Tensor:
    """Weights pretrained on D and left so by a learning rate of zero."""
    spec = experiment(HEADS, 0.0).model_copy(update={"pretrain_epochs": 3})
    (outcome,) = train_heads(spec, [Head(plans(HEADS)[0], 0.0, "a")], data, Featurizer(encode), noise=Recorder())
    return torch.cat([outcome.weights["weight"], outcome.weights["bias"][:, None]], dim=1)


def check_pretraining() -> None:
    """What is learnt before the first noisy step is learnt from D: no private record leaves a trace in it."""
    data = training_data(HEADS)
    weights = _pretrained(data)
    for record in range(HEADS.population):
        neighbour = _pretrained(training_data(HEADS, replaced=record))
        assert torch.equal(neighbour, weights), f"private record {record} was pretrained on"
    other = replace(data, public=images(6, seed=9))
    assert weights.any()
    assert not torch.equal(_pretrained(other), weights), "nothing was learnt from D"


# --- Rule 3: order ---------------------------------------------------------------------------------------------------


def check_contributions(case: Case) -> None:
    """The sum is that of min(1, C / |g|) g over the sampled units, g being the mean gradient over the K views.

    Recomputed in float64 by a loop over units and one over views, from the views that the run was seen to make.
    """
    recorder = Recorder()
    seen = run(case, recorder)
    longer = sampled = 0
    for step, found in enumerate(recorder.sums(case)):
        expected = [torch.zeros_like(part, dtype=torch.float64) for part in found]
        for _, _, views in (entry for entry in seen.views if entry[0] == step):
            for pixels, targets in zip(views.images, views.targets, strict=True):
                gradient = torch.stack(
                    [_view_gradient(case, seen, *view) for view in zip(pixels, targets, strict=True)]
                ).mean(dim=0)
                if not bool(torch.isfinite(gradient).all()):
                    continue
                norm = float(gradient.norm())
                for index, clip_norm in enumerate(case.clip_norms):
                    expected[index] += gradient * min(1.0, clip_norm / max(norm, 1e-30))
                    longer, sampled = longer + (norm > clip_norm), sampled + 1
        for mine, theirs, clip_norm in zip(expected, found, case.clip_norms, strict=True):
            distance = float((mine - theirs).norm())
            assert distance <= ROUNDING * max(float(mine.norm()), clip_norm), f"step {step} is off by {distance}"
    # A sum over views shows only where a gradient is shorter than C, the order of clipping only where one is longer.
    assert 0 < longer < sampled


def _view_gradient(case: Case, seen: Run, pixels: Tensor, target: Tensor) -> Tensor:
    """The gradient of one view's cross-entropy, flat, in float64."""
    if case.trainer == "head":
        weights = head_weights()[0].double().requires_grad_()
        features = torch.cat([encode(pixels[None])[0], torch.ones(1)]).double()
        logits, variables = weights @ features, [weights]
    else:
        assert seen.network is not None
        network = seen.network.double()
        logits, variables = network(pixels[None].double())[0], list(network.parameters())
    loss = -(target.double() * torch.log_softmax(logits, dim=0)).sum()
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, variables)])


def check_physical_batches(case: Case) -> None:
    """The size of a physical batch is a matter of memory: sums, calls of the noise source and weights stay."""
    recorders, weights = [], []
    for size in (64, 3, 1):
        recorders.append(Recorder(loud=True))
        weights.append(run(case, recorders[-1], physical_batch=size, learning_rate=0.01).weights)
    assert all([call[:3] for call in one.calls] == [call[:3] for call in recorders[0].calls] for one in recorders)
    for recorder, found in zip(recorders[1:], weights[1:], strict=True):
        for first, other, clip_norm in zip(
            recorders[0].sums(case)[0], recorder.sums(case)[0], case.clip_norms, strict=True
        ):
            distance = float((first - other).norm())
            assert distance <= ROUNDING * max(clip_norm, float(first.norm())), "the sum depends on the physical batch"
        for first, other in zip(weights[0], found, strict=True):
            assert torch.allclose(first, other, rtol=1e-3, atol=1e-3), "weights depend on the physical batch"


# --- Rules 1 and 10: sampling ----------------------------------------------------------------------------------------


def check_sampling(case: Case) -> None:
    """Every unit is Poisson-sampled at exactly B / N of the published sizes, and at most once a step."""
    case = replace(case, steps=40, k=(1, 0, 0), population=22, batch_size=8)
    seen = run(case, Recorder())
    units = -(-case.population // case.microbatch_size)
    exact = case.batch_size / case.population
    assert set(seen.rates) == {(units, exact)}, f"sampled from N and at q = {set(seen.rates)}, not {(units, exact)}"
    assert len(seen.rates) == case.steps
    taken = np.zeros((case.steps, units))
    positions = {
        int(unit.max()): index for index, unit in enumerate(microbatches(case.population, case.microbatch_size, 0))
    }
    for step, chosen, _ in seen.views:
        for unit in chosen:
            taken[step, positions[int(np.max(unit))] if case.microbatch_size > 1 else int(unit)] += 1
    assert taken.max() == 1, "a unit was used twice in one step"
    deviation = (exact * (1 - exact) / taken.size) ** 0.5
    assert abs(taken.mean() - exact) < 4 * deviation, f"units were sampled at {taken.mean():.3f}, not {exact:.3f}"
    sizes = taken.sum(axis=1)
    assert 0.4 < sizes.var() / (units * exact * (1 - exact)) < 2, "batch sizes are not those of Poisson sampling"
    for ledger in seen.ledgers:
        ((sigma, rate, steps),) = ledger.history()
        assert (rate, steps) == (executed_rate(exact), case.steps)
        assert sigma == pytest.approx(SIGMA, rel=1e-12)


# --- Rule 3: noise and divisor ---------------------------------------------------------------------------------------


def check_noise_calls(case: Case) -> None:
    """Each parameter of each head gets noise of σ times the sensitivity, once per logical step, empty or not."""
    case = replace(case, steps=12, k=(1, 0, 0), population=8, batch_size=2)
    recorder = Recorder()
    seen = run(case, recorder, physical_batch=1)
    names = [name for step, name, *_ in recorder.calls if step == 0]
    assert [(step, name) for step, name, *_ in recorder.calls] == [
        (step, name) for step in range(case.steps) for name in names
    ]
    assert len(set(names)) == len(names) == (len(case.clip_norms) if case.trainer == "head" else _tensors(seen))
    for _, name, std, _, _ in recorder.calls:
        clip_norm = case.clip_norms[names.index(name)] if case.trainer == "head" else case.clip_norms[0]
        assert std == SIGMA * case.bound(clip_norm), f"noise of {std} for sensitivity {case.bound(clip_norm)}"
    sampled = {step for step, units, _ in seen.views if len(units)}
    assert len(sampled) < case.steps, "no step was empty"
    for step, _, _, total, _ in recorder.calls:
        assert step in sampled or not total.any()
    assert all(ledger.steps == case.steps for ledger in seen.ledgers)


def _tensors(seen: Run) -> int:
    assert seen.network is not None
    return len(list(seen.network.parameters()))


def check_update(case: Case) -> None:
    """Weights move by the noisy sum over the expected number of units, whatever number was sampled."""
    recorder = Recorder(loud=True)
    seen = run(case, recorder, learning_rate=0.25)
    assert len({sum(len(units) for at, units, _ in seen.views if at == step) for step in range(case.steps)}) > 1
    for index, (before, after) in enumerate(zip(seen.initial, seen.weights, strict=True)):
        moved = torch.zeros_like(before)
        for step in range(case.steps):
            noisy = [returned.flatten() for at, *_, returned in recorder.calls if at == step]
            moved -= 0.25 * (noisy[index] if case.trainer == "head" else torch.cat(noisy)) / case.expected_units
        assert torch.allclose(after - before, moved, rtol=1e-3, atol=1e-4), "weights moved by something else"


def check_default_noise(case: Case, *, absent: Collection[int] = ()) -> None:
    """What reaches the weights by default is Gaussian, of σ times the sensitivity, new at every step.

    σ is so large that the sums themselves do not show. With everybody absent, every step is an empty one.
    """
    seen = run(case, None, absent=absent, physical_batch=1, learning_rate=1e-3)
    for before, after, clip_norm in zip(seen.initial, seen.weights, case.clip_norms, strict=True):
        expected = 1e-3 * SIGMA * case.bound(clip_norm) * case.steps**0.5 / case.expected_units
        scaled = ((after.double() - before.double()) / expected).numpy()
        assert abs(scaled.std() - 1) < 5 / (2 * scaled.size) ** 0.5 + 0.02, (
            f"noise is {scaled.std():.3f} of what it must be"
        )
        assert stats.kstest(scaled, "norm").pvalue > 1e-4


# --- Rule 5: mixing --------------------------------------------------------------------------------------------------


def check_mixtures(views: Views, members: int) -> None:
    """S' are mixtures λ a + (1 - λ) b of members of S, of images and labels alike, and not members themselves."""
    images, targets = views.images.double(), views.targets.double()
    assert views.pairs.numel() > 0, "nothing is mixed"
    for example in range(len(images)):
        for place, ((a, b), weight) in enumerate(
            zip(views.pairs[example].tolist(), views.weights[example], strict=True)
        ):
            weight = weight.double()
            for values in (images[example], targets[example]):
                mixture = weight * values[a] + (1 - weight) * values[b]
                assert torch.allclose(values[members + place], mixture, rtol=0, atol=1e-6), "not Eq. 3's mixture"
            distance = float((images[example, a] - images[example, b]).abs().max() * min(weight, 1 - weight))
            if distance > 1e-3:
                mixed = images[example, members + place]
                same = any(torch.equal(mixed, member) for member in images[example, :members])
                assert not same, "a mixture is no mixture"


@contextmanager
def broken(change: Callable[[pytest.MonkeyPatch], None]) -> Iterator[None]:
    """The code with one thing broken."""
    with pytest.MonkeyPatch.context() as patch:
        change(patch)
        yield


# --- Rule 3: clipping modes and precision ----------------------------------------------------------------------------

MODES: dict[str, Clipping] = {
    "flat": Flat(),
    "AUTO-S": AutoS(),
    "AUTO-S, γ = 2": AutoS(gamma=2.0),
    "per layer": PerLayer(),
}


@contextmanager
def clipped_by(mode: Clipping, **options: Any) -> Iterator[None]:
    """Networks trained with this clipping mode, whatever mode the trainer asks for."""
    real = scratch_module.clipped_sum
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scratch_module, "clipped_sum", lambda *a, **given: real(*a, **{**given, "mode": mode, **options}))
        yield


def check_mode_sensitivity(mode: Clipping, case: Case = SCRATCH, **options: Any) -> None:
    """`check_sensitivity` of a network trained under this mode."""
    with clipped_by(mode, **options):
        check_sensitivity(case)


def small_network() -> torch.nn.Module:
    """Three layers and a normalisation, smooth everywhere, so that rounding stays rounding."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 3, padding=1),
        torch.nn.GroupNorm(2, 6),
        torch.nn.Tanh(),
        torch.nn.Conv2d(6, 4, 3, stride=2, bias=False),
        torch.nn.Flatten(),
        torch.nn.Linear(4 * 9, CLASSES),
    )


def small_batch(n: int, k: int) -> tuple[Tensor, Tensor]:
    """Views [n, k, 1, 8, 8] and soft targets for `small_network`."""
    keyed = torch.Generator().manual_seed(0)
    views = torch.rand(n, k, 1, SIDE, SIDE, generator=keyed)
    return views, torch.softmax(2 * torch.randn(n, k, CLASSES, generator=keyed), dim=-1)


def check_mode_sum(mode: Clipping, backend: str, clip_norm: float = 1.2) -> None:
    """The clipped sum of each mode is what its definition says, recomputed in float64 by a loop over views.

    One of the examples is not finite: it adds nothing. C is among the norms, and C / sqrt(L) among those of the layers.
    """
    module = small_network()
    params = {name: value.detach() for name, value in module.named_parameters()}
    views, targets = small_batch(6, 3)
    damaged = 4
    rows = architectures.naive(module, params, views, targets)
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in rows))
    expected = {name: torch.zeros_like(value[0]) for name, value in rows.items()}
    scaled = []
    for index in range(len(views)):
        if index == damaged:
            continue
        gradient = {name: value[index] for name, value in rows.items()}
        norm = float(architectures.flat(gradient).norm())
        for layer in layers:
            members = {name: value for name, value in gradient.items() if name.rpartition(".")[0] == layer}
            own = float(architectures.flat(members).norm())
            if isinstance(mode, AutoS):
                factor = clip_norm / (norm + mode.gamma)
            elif isinstance(mode, PerLayer):
                bound = mode.bounds[layer] if mode.bounds else clip_norm / len(layers) ** 0.5
                factor = min(1.0, bound / own)
            else:
                factor = min(1.0, clip_norm / norm)
            scaled.append(factor != 1)
            for name, value in members.items():
                expected[name] += factor * value
    assert any(scaled)
    assert isinstance(mode, AutoS) or not all(scaled)
    views[damaged, 1, 0, 3, 3] = torch.nan
    found = clipped_sum(ExampleLoss(module), params, views, targets, clip_norm, backend=backend, mode=mode)
    distance = float((architectures.flat(found.total) - architectures.flat(expected)).norm())
    assert distance <= 1e-5 * float(architectures.flat(expected).norm()), f"the {mode} sum is off by {distance}"
    assert not bool(torch.isfinite(found.norms[damaged]))
    assert found.sensitivity <= clip_norm


def check_norm_of_what_is_added(mode: Clipping, backend: str, precision: str) -> None:
    """What a long gradient adds is as long as the sensitivity up to float32's rounding, in any precision.

    Layers of half a million weights, where norms summed carelessly go wrong, and a gradient a hundred times C.
    """
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(SIDE * SIDE, 8192), torch.nn.Tanh(), torch.nn.Linear(8192, SIDE * SIDE)
    )
    params = {name: value.detach() for name, value in module.named_parameters()}
    loss = ExampleLoss(module, lambda outputs, targets: (outputs * targets).sum(dim=1).mean())
    views, targets = torch.rand(1, 2, SIDE * SIDE), torch.randn(1, 2, SIDE * SIDE)
    found = clipped_sum(loss, params, views, targets, 0.1, backend=backend, mode=mode, precision=precision)
    assert float(found.norms) > 100 * found.sensitivity
    added = float(architectures.flat(found.total).norm())
    shortest = 0.9 if isinstance(mode, AutoS) else 1 - 1e-6
    within = shortest <= added / found.sensitivity <= 1 + 1e-6
    assert within, f"one example added {added} and not {found.sensitivity}"
