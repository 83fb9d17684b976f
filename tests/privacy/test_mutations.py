"""Each way of breaking privacy or the method is caught by the very check that the code passes in `test_rules`.

Long because the ways of breaking a rule stand side by side, a few lines each.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dpmix.privacy import linear_heads as head_sums
from dpmix.privacy import loss as privacy_loss
from dpmix.privacy import modes, sampling
from dpmix.privacy.noise import SeededNoise
from dpmix.privacy.plan import Plan
from dpmix.random import KeyedRandom
from dpmix.training import embedded_views, heads, network, scratch
from dpmix.training.data import TrainingData
from dpmix.training.physical_batches import PhysicalBatches
from dpmix.views import mixing
from dpmix.views.settings import ViewSettings
from tests.privacy import checks

Patch = pytest.MonkeyPatch
HEADS, SCRATCH, PAIRS = checks.HEADS, checks.SCRATCH, checks.MICROBATCHES_ADDED
CLIPPED = replace(HEADS, clip_norms=(0.05, 0.1))


def no_noise(patch: Patch) -> None:
    patch.setattr(SeededNoise, "add", lambda self, total, std, *, step, name: total)


def no_noise_in_empty_steps(patch: Patch) -> None:
    add = SeededNoise.add

    def skipping(self: SeededNoise, total: torch.Tensor, std: float, *, step: int, name: str) -> torch.Tensor:
        return add(self, total, std, step=step, name=name) if total.any() else total

    patch.setattr(SeededNoise, "add", skipping)


def the_same_noise_every_step(patch: Patch) -> None:
    add = SeededNoise.add
    patch.setattr(SeededNoise, "add", lambda self, total, std, *, step, name: add(self, total, std, step=0, name=name))


def noise_for_every_physical_batch(patch: Patch) -> None:
    for module, name in ((scratch, "clipped_sum"), (heads, "head_clipped_sum")):
        patch.setattr(module, name, _noisy(getattr(module, name)))


def _noisy(real: Callable[..., Any]) -> Callable[..., Any]:
    generator = torch.Generator().manual_seed(0)

    def noise(like: torch.Tensor, clip_norm: Any) -> torch.Tensor:
        std = checks.SIGMA * clip_norm
        return torch.randn(like.shape, generator=generator) * std

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        if isinstance(result, tuple):
            return result[0] + noise(result[0], args[3][:, None, None]), result[1]
        total = {name: value + noise(value, args[4]) for name, value in result.total.items()}
        return replace(result, total=total)

    return wrapped


def undoubled_microbatch_noise(patch: Patch) -> None:
    patch.setattr(Plan, "sensitivity", property(lambda plan: plan.clip_norm))


def sum_over_views(patch: Patch) -> None:
    """K g is clipped in place of g, which is K times the clipping of g to C / K."""
    real = heads.head_clipped_sum

    def of_heads(
        features: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, clip: torch.Tensor, **_: Any
    ) -> Any:
        k = features.shape[1]
        total, norms = real(features, targets, weights, clip / k)
        return total * k, norms * k

    def criterion(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return privacy_loss.soft_cross_entropy(outputs, targets) * views

    views = sum(SCRATCH.k)
    patch.setattr(heads, "head_clipped_sum", of_heads)
    patch.setattr(scratch, "ExampleLoss", lambda model: privacy_loss.ExampleLoss(model, criterion))


def clipping_before_the_mean(patch: Patch) -> None:
    one_head, one_net = heads.head_clipped_sum, scratch.clipped_sum

    def of_heads(
        features: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, clip: torch.Tensor, **_: Any
    ) -> Any:
        n, k = features.shape[:2]
        total, norms = one_head(features.flatten(0, 1)[:, None], targets.flatten(0, 1)[:, None], weights, clip)
        return total / k, norms.view(len(weights), n, k).mean(dim=2)

    def of_network(
        loss: Any, params: Any, views: torch.Tensor, targets: torch.Tensor, clip: float, **options: Any
    ) -> Any:
        k = views.shape[1]
        views, targets = views.flatten(0, 1)[:, None], targets.flatten(0, 1)[:, None]
        result = one_net(loss, params, views, targets, clip, **options)
        return replace(result, total={name: value / k for name, value in result.total.items()})

    patch.setattr(heads, "head_clipped_sum", of_heads)
    patch.setattr(scratch, "clipped_sum", of_network)


def no_clipping(patch: Patch) -> None:
    patch.setattr(modes.Scaling, "scale", lambda mode, norms, bound: torch.ones_like(norms))


def non_finite_examples_count(patch: Patch) -> None:
    patch.setattr(head_sums.torch, "isfinite", lambda values: torch.ones_like(values, dtype=torch.bool))


def underestimated_norms(patch: Patch) -> None:
    real = head_sums._norms
    patch.setattr(head_sums, "_norms", lambda *args: real(*args) * 0.95)


def a_record_used_twice(patch: Patch) -> None:
    real = sampling.poisson_sample
    patch.setattr(sampling, "poisson_sample", lambda *args: np.repeat(real(*args), 2))


def overlapping_physical_batches(patch: Patch) -> None:
    def overlapping(self: PhysicalBatches, units: np.ndarray, compute: Callable[[np.ndarray], Any]) -> Any:
        for start in range(0, len(units), self.size):
            yield compute(units[max(0, start - 1) : start + self.size])

    patch.setattr(PhysicalBatches, "run", overlapping)


def a_lost_physical_batch(patch: Patch) -> None:
    real = PhysicalBatches.run
    patch.setattr(PhysicalBatches, "run", lambda self, units, compute: list(real(self, units, compute))[:1])


def mixing_across_examples(patch: Patch) -> None:
    """Mixup as it is usual without privacy: with the next image of the batch."""
    for module in (network, embedded_views):
        real = module.make_views

        def mixed(*args: Any, real: Callable[..., Any] = real, **kwargs: Any) -> mixing.Views:
            views = real(*args, **kwargs)
            images, targets = views.images, views.targets
            return replace(views, images=(images + images.roll(1, 0)) / 2, targets=(targets + targets.roll(1, 0)) / 2)

        patch.setattr(module, "make_views", mixed)


def statistics_of_the_batch(patch: Patch) -> None:
    real = embedded_views.make_views

    def normalized(*args: Any, **kwargs: Any) -> mixing.Views:
        views = real(*args, **kwargs)
        return replace(views, images=views.images - views.images.mean() + 0.5)

    patch.setattr(embedded_views, "make_views", normalized)


def statistics_of_the_private_set(patch: Patch) -> None:
    """Centres images by the mean of all private ones, sampled or not."""
    for module in (network, embedded_views):
        real = module.make_views

        def centred(private: Any, *args: Any, real: Callable[..., Any] = real, **kwargs: Any) -> mixing.Views:
            views = real(private, *args, **kwargs)
            return replace(views, images=views.images - float(private.images.mean()) / 255 + 0.5)

        patch.setattr(module, "make_views", centred)


def random_numbers_by_position(patch: Patch) -> None:
    """Draws that depend on the place in the batch, so that one removal changes everybody behind it."""
    for module in (network, embedded_views):
        patch.setattr(
            module, "view_random", lambda seed, step, indices, sets: KeyedRandom(seed, step, np.arange(len(indices)))
        )


def rate_of_the_loader(patch: Patch) -> None:
    """q = 1 / len(loader), as Opacus's make_private has it."""
    patch.setattr(Plan, "sampling_rate", property(lambda plan: 1 / -(-plan.population // plan.batch_size)))


def fixed_size_batches(patch: Patch) -> None:
    """Shuffled batches under an accountant that assumes Poisson sampling."""

    def fixed(seed: int, step: int, population: int, rate: float) -> np.ndarray:
        order = KeyedRandom(seed, step, np.arange(population)).uniform("shuffle").argsort()
        return np.sort(order[: round(population * rate)])

    patch.setattr(sampling, "poisson_sample", fixed)


def too_many_samples(patch: Patch) -> None:
    """Claims q, and samples at 1.5 q."""
    real = sampling.poisson_sample
    patch.setattr(
        sampling, "poisson_sample", lambda seed, step, population, rate: real(seed, step, population, 1.5 * rate)
    )


def divided_by_what_was_sampled(patch: Patch) -> None:
    sampled = [1]
    real = sampling.poisson_sample

    def counting(*args: Any) -> np.ndarray:
        chosen = real(*args)
        sampled[0] = max(1, len(chosen))
        return chosen

    patch.setattr(sampling, "poisson_sample", counting)
    patch.setattr(Plan, "expected_units", property(lambda plan: sampled[0]))


def regrouped_microbatches(patch: Patch) -> None:
    """Microbatches are formed of the records that are there, so that one removal shifts all others."""
    real = network.make_microbatch_views

    def regrouped(private: Any, units: np.ndarray, *args: Any) -> mixing.Views:
        present = units[units >= 0]
        slots = np.full(units.size, -1)
        slots[: len(present)] = present
        return real(private, slots.reshape(units.shape), *args)

    patch.setattr(network, "make_microbatch_views", regrouped)


# What each check says, so that one that fails for another reason does not count.
WORDS = {
    checks.check_sensitivity: r"record \d moved step \d",
    checks.check_own_contribution: "changed others",
    checks.check_no_other_path: "leaked",
    checks.check_contributions: "is off by",
    checks.check_physical_batches: "the sum depends on the physical batch",
    checks.check_sampling: "sampled from N|Poisson sampling|were sampled at|used twice",
    checks.check_noise_calls: "for sensitivity",
    checks.check_update: "weights moved by something else",
    checks.check_default_noise: "of what it must be",
}

MUTATIONS = [
    (no_noise, checks.check_default_noise, [HEADS, SCRATCH, PAIRS]),
    (the_same_noise_every_step, checks.check_default_noise, [HEADS, SCRATCH]),
    (noise_for_every_physical_batch, checks.check_default_noise, [HEADS, SCRATCH]),
    (noise_for_every_physical_batch, checks.check_physical_batches, [HEADS, SCRATCH]),
    (noise_for_every_physical_batch, checks.check_contributions, [checks.MIDDLING["heads"]]),
    (undoubled_microbatch_noise, checks.check_noise_calls, [PAIRS]),
    (undoubled_microbatch_noise, checks.check_default_noise, [PAIRS]),
    (sum_over_views, checks.check_contributions, [checks.MIDDLING["heads"], checks.MIDDLING["scratch"]]),
    (clipping_before_the_mean, checks.check_contributions, [checks.MIDDLING["heads"], checks.MIDDLING["scratch"]]),
    (no_clipping, checks.check_sensitivity, [HEADS, SCRATCH, PAIRS]),
    (underestimated_norms, checks.check_sensitivity, [HEADS]),
    (non_finite_examples_count, checks.check_sensitivity, [checks.HEADS_DAMAGED]),
    (a_record_used_twice, checks.check_sensitivity, [CLIPPED, SCRATCH, checks.MICROBATCHES]),
    (a_record_used_twice, checks.check_sampling, [HEADS, SCRATCH, PAIRS]),
    (overlapping_physical_batches, checks.check_physical_batches, [HEADS, SCRATCH]),
    (a_lost_physical_batch, checks.check_physical_batches, [HEADS, SCRATCH]),
    (mixing_across_examples, checks.check_own_contribution, [HEADS, SCRATCH]),
    (statistics_of_the_batch, checks.check_own_contribution, [HEADS]),
    (statistics_of_the_private_set, checks.check_no_other_path, [HEADS, SCRATCH]),
    (random_numbers_by_position, checks.check_own_contribution, [HEADS, SCRATCH]),
    (regrouped_microbatches, checks.check_own_contribution, [PAIRS]),
    (rate_of_the_loader, checks.check_sampling, [HEADS, SCRATCH]),
    (fixed_size_batches, checks.check_sampling, [HEADS, SCRATCH]),
    (too_many_samples, checks.check_sampling, [HEADS, SCRATCH, PAIRS]),
    (divided_by_what_was_sampled, checks.check_update, [HEADS, SCRATCH, PAIRS]),
]


@pytest.mark.parametrize(
    ("mutation", "check", "case"),
    [
        pytest.param(mutation, check, case, id=f"{mutation.__name__}-{check.__name__}-{case.trainer}{place}")
        for mutation, check, cases in MUTATIONS
        for place, case in enumerate(cases)
    ],
)
def test_the_check_fails_on_broken_code(mutation, check, case):
    with checks.broken(mutation), pytest.raises(AssertionError, match=WORDS[check]):
        check(case)


@pytest.mark.parametrize("case", [HEADS, SCRATCH, PAIRS], ids=["heads", "scratch", "microbatches"])
def test_silent_empty_steps_are_caught(case):
    everybody = range(case.population)
    with checks.broken(no_noise_in_empty_steps), pytest.raises(AssertionError, match=r"noise is 0\.000 of"):
        checks.check_default_noise(case, absent=everybody)


def pretraining_on_private_data(patch: Patch) -> None:
    """Whoever asks for D is given the private records."""
    get = object.__getattribute__
    patch.setattr(
        TrainingData, "__getattribute__", lambda self, name: get(self, "private" if name == "public" else name)
    )


def pretraining_on_private_labels(patch: Patch) -> None:
    """D's images, with labels of private ones."""
    get = object.__getattribute__

    def mislabelled(self: TrainingData, name: str) -> Any:
        value = get(self, name)
        return replace(value, labels=get(self, "private").labels[: len(value)]) if name == "public" else value

    patch.setattr(TrainingData, "__getattribute__", mislabelled)


@pytest.mark.parametrize("mutation", [pretraining_on_private_data, pretraining_on_private_labels])
def test_private_records_in_pretraining_are_caught(mutation):
    with checks.broken(mutation), pytest.raises(AssertionError, match=r"private record \d was pretrained on"):
        checks.check_pretraining()


def nothing_is_mixed(patch: Patch) -> None:
    """As in the code that was released for the paper."""
    rows = np.arange
    patch.setattr(mixing, "mix", lambda members, pairs, weights: members[rows(len(members))[:, None], pairs[..., 0]])


def labels_are_mixed_differently(patch: Patch) -> None:
    real = mixing.mix
    patch.setattr(
        mixing,
        "mix",
        lambda members, pairs, weights: real(members, pairs, weights if members.dim() > 3 else 1 - weights),
    )


@pytest.mark.parametrize("mutation", [nothing_is_mixed, labels_are_mixed_differently])
def test_mixing_that_does_not_mix_is_caught(mutation):
    private, synthetic = checks.images(5, seed=1), checks.images(6, seed=2)
    synthetic.labels[:] = np.arange(6) % checks.CLASSES
    with checks.broken(mutation):
        views = mixing.make_views(private, range(5), ViewSettings(1, 3, 5), KeyedRandom(0, 0, np.arange(5)), synthetic)
    with pytest.raises(AssertionError, match=r"not Eq\. 3's mixture"):
        checks.check_mixtures(views, 4)


def every_layer_clipped_to_c(patch: Patch) -> None:
    """C_l = C instead of C / sqrt(L)."""
    patch.setattr(
        modes, "layer_bounds", lambda mode, names, clip_norm: {modes.layer_of(name): clip_norm for name in names}
    )


def bounds_that_add_up_to_c(patch: Patch) -> None:
    """C_l = C / L: private, and not what is claimed."""
    real = modes.layer_bounds

    def shared(mode: modes.PerLayer, names: Any, clip_norm: float) -> dict[str, float]:
        bounds = real(mode, names, clip_norm)
        return {layer: clip_norm / len(bounds) for layer in bounds}

    patch.setattr(modes, "layer_bounds", shared)


def weights_and_biases_apart(patch: Patch) -> None:
    """Each tensor has a layer's whole bound."""
    real, layer_of = modes.layer_bounds, modes.layer_of

    def doubled(mode: modes.PerLayer, names: Any, clip_norm: float) -> dict[str, float]:
        bounds = real(mode, [layer_of(name) for name in names], clip_norm)
        return {name: bounds[layer_of(name)] for name in names}

    patch.setattr(modes, "layer_bounds", doubled)
    patch.setattr(modes, "layer_of", lambda name: name)


def factors_of_roots(patch: Patch) -> None:
    """The square root of the norm where the norm belongs."""
    _with_norms(patch, torch.sqrt)


def factors_of_the_whole_batch(patch: Patch) -> None:
    """One factor for all, from the norm of the sum."""
    for mode in (modes.Scaling, modes.PerLayer):

        def of_the_sum(self: Any, squares: torch.Tensor, *args: Any, real: Any = mode.factors) -> torch.Tensor:
            return real(self, squares.sum(dim=1, keepdim=True), *args).expand(-1, squares.shape[1])

        patch.setattr(mode, "factors", of_the_sum)


def gamma_in_place_of_the_norm(patch: Patch) -> None:
    _with_norms(patch, torch.zeros_like)


def norms_of_low_precision(patch: Patch) -> None:
    """Cut to bfloat16's digits."""
    _with_norms(patch, lambda norms: (norms.view(torch.int32) & -65536).view(torch.float32))


def norms_a_little_short(patch: Patch) -> None:
    """By a few millionths: more than float32's rounding."""
    _with_norms(patch, lambda norms: norms * (1 - 4e-6))


def norms_summed_one_by_one(patch: Patch) -> None:
    real = torch.Tensor.sum

    def naive(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if x.numel() < 100_000 or kwargs not in ({}, {"dim": 1}) or args:
            return real(x, *args, **kwargs)
        return torch.linalg.vector_norm(x.sqrt(), dim=kwargs.get("dim")).square()

    patch.setattr(torch.Tensor, "sum", naive)


def _with_norms(patch: Patch, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    real = modes.Scaling.scale
    patch.setattr(modes.Scaling, "scale", lambda mode, norms, bound: real(mode, change(norms), bound))


AUTO_S, PER_LAYER = modes.AutoS(), modes.PerLayer()
OF_THE_SUM, OF_THE_SENSITIVITY, OF_THE_NORM = r"sum is off by", r"record \d moved step \d", "one example added"


def _sum(mode: modes.Clipping, backend: str) -> None:
    checks.check_mode_sum(mode, backend)


def _sensitivity(mode: modes.Clipping, backend: str) -> None:
    checks.check_mode_sensitivity(mode, backend=backend)


def _norm(mode: modes.Clipping, backend: str) -> None:
    checks.check_norm_of_what_is_added(mode, backend, "bfloat16")


MODE_MUTATIONS = [
    (every_layer_clipped_to_c, _sensitivity, PER_LAYER, OF_THE_SENSITIVITY),
    (every_layer_clipped_to_c, _sum, PER_LAYER, OF_THE_SUM),
    (bounds_that_add_up_to_c, _sum, PER_LAYER, OF_THE_SUM),
    (weights_and_biases_apart, _sensitivity, PER_LAYER, OF_THE_SENSITIVITY),
    (weights_and_biases_apart, _sum, PER_LAYER, OF_THE_SUM),
    (factors_of_roots, _sensitivity, AUTO_S, OF_THE_SENSITIVITY),
    (factors_of_roots, _sum, AUTO_S, OF_THE_SUM),
    (factors_of_roots, _sum, PER_LAYER, OF_THE_SUM),
    (gamma_in_place_of_the_norm, _sensitivity, AUTO_S, OF_THE_SENSITIVITY),
    (gamma_in_place_of_the_norm, _sum, AUTO_S, OF_THE_SUM),
    (norms_of_low_precision, _norm, modes.FLAT, OF_THE_NORM),
    (norms_of_low_precision, _norm, PER_LAYER, OF_THE_NORM),
    (norms_a_little_short, _norm, modes.FLAT, OF_THE_NORM),
    (norms_a_little_short, _norm, PER_LAYER, OF_THE_NORM),
    (norms_summed_one_by_one, _norm, modes.FLAT, OF_THE_NORM),
]


@pytest.mark.parametrize("backend", ["sequential", "vectorized"])
@pytest.mark.parametrize(
    ("mutation", "check", "mode", "words"),
    [
        pytest.param(*one, id=f"{one[0].__name__}-{one[1].__name__.strip('_')}-{type(one[2]).__name__}")
        for one in MODE_MUTATIONS
    ],
)
def test_the_check_fails_on_broken_modes(mutation, check, mode, words, backend):
    with checks.broken(mutation), pytest.raises(AssertionError, match=words):
        check(mode, backend)


@pytest.mark.parametrize("mode", [modes.FLAT, AUTO_S, PER_LAYER], ids=["flat", "AUTO-S", "per layer"])
def test_the_norm_of_the_whole_batch_is_caught(mode):
    with checks.broken(factors_of_the_whole_batch), pytest.raises(AssertionError, match=OF_THE_SUM):
        checks.check_mode_sum(mode, "vectorized")
