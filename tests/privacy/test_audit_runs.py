"""White-box canary audits of whole runs: what the trainers themselves give away, at ε = 4.

Every record of a run is a canary with a direction of its own in the gradient: in a head its own feature, in a network
its own class and with that a row of the last layer. A fair coin decides who is there. The auditor sees every noisy
sum of a run and scores each canary along its direction, so that one run gives as many observations as it has records.
Without sampling the bound can come close to ε; with it, it must at least not pass.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import toeplitz
from torch import Tensor

from dpmix.data.images import Images
from dpmix.errors import PrivacyError
from dpmix.models.features import Featurizer
from dpmix.models.networks import build_network
from dpmix.privacy import cyclic_sampling, sampling
from dpmix.privacy.audit import Transcript, epsilon_lower_bound
from dpmix.privacy.banded_noise import BandedNoise
from dpmix.privacy.banded_plan import banded_plan
from dpmix.privacy.cyclic_sampling import cyclic_part
from dpmix.privacy.ledger import Ledger
from dpmix.privacy.noise import NoiseSource, SecureNoise, SeededNoise
from dpmix.privacy.plan import Plan
from dpmix.privacy.sampling import microbatches
from dpmix.training import scratch as scratch_module
from dpmix.training.data import TrainingData
from dpmix.training.heads import Head, train_heads
from dpmix.training.scratch import train_from_scratch
from tests.needs import JAX_PRIVACY, module
from tests.privacy import checks

pytestmark = pytest.mark.slow

EPSILON, DELTA, CLIP_NORM = 4.0, 1e-5, 0.5
CANARIES = {"head": 1000, "scratch": 500}
RUNS = {"head": 6, "scratch": 8}
both = pytest.mark.parametrize("trainer", ["head", "scratch"])
Break = Callable[[pytest.MonkeyPatch, Any], None]


def plan_of(trainer: str, *, rate: float, steps: int) -> Plan:
    population = CANARIES[trainer]
    plan = Plan.calibrated(
        population=population,
        batch_size=int(rate * population),
        epochs=rate * steps,
        clip_norm=CLIP_NORM,
        epsilon=EPSILON,
        delta=DELTA,
    )
    assert (plan.sampling_rate, plan.steps) == (rate, steps)
    return plan


def audited(
    trainer: str, plan: Plan, noise: Callable[[int], NoiseSource] = SeededNoise, broken: Break = lambda *_: None
) -> tuple[np.ndarray, np.ndarray, Ledger]:
    """The canaries' scores [steps, n] over all runs, whether each was there [n], and a run's ledger."""
    seen, there = [], []
    for seed in range(RUNS[trainer]):
        present = np.random.default_rng(seed).random(plan.population) < 0.5
        with pytest.MonkeyPatch.context() as patch:
            case = checks.Case(trainer, (plan.clip_norm,), plan.population, plan.batch_size, plan.steps, k=(2, 0, 2))
            broken(patch, case.clipping_module)
            checks._leave_out(patch, case, np.flatnonzero(~present), checks.Run([], [], [], [plan], None))
            transcript = Transcript(noise(seed))
            experiment = checks.experiment(case, 0.5).model_copy(update={"seed": seed})
            scores, ledger = (_head if trainer == "head" else _scratch)(experiment, plan, transcript)
        seen.append(scores)
        there.append(present)
    return np.concatenate(seen, axis=1), np.concatenate(there), ledger


def bound(scores: np.ndarray, present: np.ndarray, method: str = "mean", confidence: float = 0.95) -> float:
    total = scores.sum(axis=0)
    return epsilon_lower_bound(total[present], total[~present], DELTA, confidence, method)


def _head(experiment: Any, plan: Plan, transcript: Transcript) -> tuple[np.ndarray, Ledger]:
    """Images of one colour each, which no augmentation or mixture of its views changes, and a feature for each."""
    count, labels = plan.population, np.arange(plan.population) % checks.CLASSES
    index = np.arange(count)
    colours = np.stack([index % 256, index // 256, np.zeros_like(index)], axis=1).astype(np.uint8)
    images = Images(np.broadcast_to(colours[..., None, None], (count, 3, 8, 8)).copy(), labels, tuple("abc"))

    def encode(pixels: Tensor) -> Tensor:
        red, green, _ = (pixels[..., 0, 0] * 255).round().long().unbind(dim=1)
        # Next to 100 the constant feature of the bias, which all canaries share, does not count.
        return 100 * torch.nn.functional.one_hot(red + 256 * green, count).float()

    data = TrainingData(images, Images(images.images[:4], labels[:4], images.classes), None, None)
    head = Head(plan, 0.5, "canaries")
    (outcome,) = train_heads(experiment, [head], data, Featurizer(encode), physical_batch=500, noise=transcript)
    residuals = 1 / checks.CLASSES - np.eye(checks.CLASSES)[labels]
    residuals /= np.linalg.norm(residuals, axis=1, keepdims=True)
    seen = torch.stack(transcript.noisy["canaries"])[..., :-1].double().numpy()
    return np.einsum("tci,ic->ti", seen, residuals), outcome.ledger


def _scratch(experiment: Any, plan: Plan, transcript: Transcript) -> tuple[np.ndarray, Ledger]:
    """Random images, each in a class of its own: the gradient of a row of the last layer is nearly one canary's."""
    count = plan.population
    pixels = np.random.default_rng(0).integers(0, 256, (count, 1, 8, 8)).astype(np.uint8)
    images = Images(pixels, np.arange(count), tuple(map(str, range(count))))
    experiment = experiment.model_copy(update={"dataset": experiment.dataset.model_copy(update={"classes": count})})
    data = TrainingData(images, Images(pixels[:4], np.arange(4), images.classes), None, None)

    def network(*args: Any) -> torch.nn.Module:
        """With a last layer of zeros, below which no gradient gets: the weights at the start are public after all."""
        made = build_network(*args)
        torch.nn.init.zeros_(made.head.weight)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scratch_module, "build_network", network)
        outcome = train_from_scratch(experiment, plan, data, block=250, noise=transcript)
    # What the last layer saw of the plain images at the start, with the bias's constant.
    start = network(experiment.model, 1, count, experiment.seed)
    kept: list[Tensor] = []
    start.head.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    with torch.no_grad():
        start(torch.from_numpy(pixels).float() / 255)
    direction = torch.cat([kept[0], torch.ones(count, 1)], dim=1).double()
    direction /= direction.norm(dim=1, keepdim=True)
    weight, bias = (torch.stack(transcript.noisy[f"head.{name}"]).double() for name in ("weight", "bias"))
    scores = -(torch.cat([weight, bias[..., None]], dim=2) * direction).sum(dim=2).numpy()
    # The coins were thrown for units of sampling, which are the records in another order.
    return scores[:, microbatches(count, 1, seed=0)[:, 0]], outcome.ledger


def half_the_noise(plan: Plan) -> Plan:
    return replace(plan, noise_multiplier=plan.noise_multiplier / 2)


def sum_over_views(patch: pytest.MonkeyPatch, module: Any) -> None:
    """Every view is clipped and added by itself, so that an example weighs K C."""
    name = "head_clipped_sum" if hasattr(module, "head_clipped_sum") else "clipped_sum"
    real = getattr(module, name)

    def of_heads(features: Tensor, targets: Tensor, weights: Tensor, clip: Tensor, **_: Any) -> Any:
        n, k = features.shape[:2]
        total, norms = real(features.flatten(0, 1)[:, None], targets.flatten(0, 1)[:, None], weights, clip)
        return total, norms.view(len(weights), n, k).mean(dim=2)

    def of_network(loss: Any, params: Any, views: Tensor, targets: Tensor, clip: float, **options: Any) -> Any:
        return real(loss, params, views.flatten(0, 1)[:, None], targets.flatten(0, 1)[:, None], clip, **options)

    patch.setattr(module, name, of_heads if name == "head_clipped_sum" else of_network)


def no_sampling(patch: pytest.MonkeyPatch, module: Any) -> None:
    patch.setattr(sampling, "poisson_sample", lambda seed, step, population, rate: np.arange(population))
    patch.setattr(cyclic_sampling, "cyclic_poisson_sample", lambda seed, step, population, *_: np.arange(population))


@both
def test_full_batches_give_away_nearly_epsilon_and_no_more(trainer):
    plan = plan_of(trainer, rate=1.0, steps=2)
    scores, present, ledger = audited(trainer, plan)
    ledger.check(plan)
    assert 2.5 <= bound(scores, present) <= EPSILON
    for method in ("threshold", "gdp"):
        assert 0 < bound(scores, present, method) <= EPSILON


@both
def test_half_the_noise_is_found_out(trainer):
    plan = plan_of(trainer, rate=1.0, steps=2)
    scores, present, ledger = audited(trainer, half_the_noise(plan))
    assert bound(scores, present) > EPSILON
    with pytest.raises(PrivacyError, match="noise multiplier"):
        ledger.check(plan)


@both
def test_a_sum_over_views_is_found_out(trainer):
    scores, present, _ = audited(trainer, plan_of(trainer, rate=1.0, steps=2), broken=sum_over_views)
    assert bound(scores, present) > EPSILON


@both
def test_sampled_batches_stay_below_epsilon(trainer):
    plan = plan_of(trainer, rate=0.5, steps=4)
    scores, present, ledger = audited(trainer, plan)
    ledger.check(plan)
    # A canary that was there was sampled in some steps and not in others: no Gaussian, so nothing is assumed here.
    assert 0 < bound(scores, present, "threshold") <= EPSILON


@both
def test_a_sample_that_takes_everybody_is_found_out(trainer):
    scores, present, _ = audited(trainer, plan_of(trainer, rate=0.5, steps=4), broken=no_sampling)
    assert bound(scores, present) > EPSILON


def test_noise_for_release_holds_as_well():
    scores, present, _ = audited("head", plan_of("head", rate=1.0, steps=2), noise=lambda _: SecureNoise())
    # No seed repeats this noise, so the bound may fail once in a hundred thousand times.
    assert 2.5 <= bound(scores, present, confidence=0.99999) <= EPSILON


@pytest.mark.parametrize("holds", [True, False], ids=["by turns", "everybody always"])
def test_banded_noise_covers_records_that_take_turns(holds):
    """Four parts take turns, whole: two turns a record. The auditor undoes the correlation of the noise."""
    count, bands = CANARIES["head"], 4
    plan = banded_plan(
        population=count,
        batch_size=count // bands,
        epochs=2,
        clip_norm=CLIP_NORM,
        epsilon=EPSILON,
        delta=DELTA,
        bands=bands,
    )

    def noise(seed: int) -> BandedNoise:
        return BandedNoise(plan.coefficients, seed)

    scores, present, ledger = audited("head", plan, noise, *([] if holds else [no_sampling]))
    if holds:
        ledger.check(plan)
    else:
        with pytest.raises(PrivacyError, match="a unit was taken that could not have been"):
            ledger.check(plan)
    # Only the first part's last turn shows in all of its rows.
    first = np.tile(np.isin(np.arange(count), cyclic_part(0, count, plan.batch_size, bands)), RUNS["head"])
    encoder = np.tril(toeplitz(np.pad(plan.coefficients, (0, plan.steps - bands))))
    used = encoder[:, :: bands if holds else 1].sum(axis=1, keepdims=True)
    found = bound(used * (encoder @ scores[:, first]), present[first])
    assert 2.5 <= found <= EPSILON if holds else found > EPSILON


def test_the_one_run_bound_of_jax_privacy():
    """Steinke et al. (NeurIPS 2023): valid however canaries influence each other, and weaker for it."""
    auditing = module("jax_privacy.auditing", JAX_PRIVACY)
    plan = plan_of("head", rate=1.0, steps=2)
    for tampered, holds in ((plan, True), (replace(plan, noise_multiplier=plan.noise_multiplier / 8), False)):
        scores, present, _ = audited("head", tampered)
        total = scores.sum(axis=0)
        found = auditing.CanaryScoreAuditor(total[present], total[~present]).epsilon_one_run(0.05, DELTA)
        assert found > 0
        assert (found <= EPSILON) is holds
