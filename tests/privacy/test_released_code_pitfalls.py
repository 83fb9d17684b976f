"""What goes wrong in the code that was released for DP-Mix, and in pyvacy, and does not here.

`docs/pitfalls.md` says which code is meant.
"""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy import layers
from dpmix.privacy.ledger import Ledger
from dpmix.privacy.noise import SecureNoise
from dpmix.privacy.sampling import microbatches, poisson_sample, secure_poisson_sample
from dpmix.random import KeyedRandom
from dpmix.training.outcome import Outcome
from dpmix.views.mixing import make_views
from dpmix.views.settings import ViewSettings
from tests.privacy import checks
from tests.privacy.small_loops import TRAINERS, finish, images, linear, opacus_loop, plan, plan_of


@TRAINERS
def test_training_runs_on_the_poisson_sample(case):
    """The release makes a Poisson loader, and then trains on the other one, in a fixed order."""
    seen = checks.run(replace(case, steps=6), checks.Recorder())
    by_step = {step: units for step, units, _ in seen.views}
    for step in range(6):
        sampled = poisson_sample(checks.SEED, step, case.population, case.batch_size / case.population)
        # A network's units are numbered by a public permutation.
        units = sampled if case.trainer == "head" else microbatches(case.population, 1, seed=0)[sampled, 0]
        assert np.array_equal(np.ravel(by_step.get(step, [])), units)
    assert len({tuple(np.ravel(units)) for units in by_step.values()}) > 1


@pytest.mark.parametrize(
    ("population", "epochs", "steps", "released"),
    [(3680, 10, 36, 40), (24485, 10, 244, 250), (21600, 20, 432, 440), (87003, 10, 870, 880), (50_000, 10, 500, 500)],
)
def test_no_step_more_than_accounted(population, epochs, steps, released):
    """The release's noise is for ⌊epochs · N / B⌋ steps, and its loop takes epochs · ⌈N / B⌉."""
    assert epochs * math.ceil(population / 1000) == released
    found = plan_of(population, 1000, epochs)
    assert found.steps == steps
    if released > steps:
        ledger = Ledger()
        ledger.record(found, released)
        with pytest.raises(PrivacyError, match=f"{released} steps were executed but {steps} planned"):
            ledger.check(found)


def test_the_loop_ends_with_the_plan():
    optimizer, mix = opacus_loop(linear(), plan(), images(12))
    finish(optimizer, mix)
    assert mix.ledger.steps == 4
    assert list(mix.batches()) == []


def test_the_divisor_is_b_whatever_was_sampled():
    """The release divides by ⌊N / ⌈N / B⌉⌋; the size of the sample itself, which AdaClip uses, would be private."""
    for present in (12, 4, 0):
        model = linear()
        before = torch.cat([p.detach().flatten() for p in model.parameters()])
        loop = opacus_loop(model, plan(steps=1, batch_size=11, noise_multiplier=5.0), images(present))
        moved = finish(*loop) - before
        noise = loop[0].generator.manual_seed(loop[0].generator.initial_seed())
        drawn = torch.cat([torch.normal(0.0, 5.0, p.shape, generator=noise).flatten() for p in model.parameters()])
        # What is left after the noise, itself of norm 36 or so, is at most one clipped gradient for each record.
        assert float((moved * 11 + drawn).norm()) <= present + 1e-4
        assert present or torch.allclose(moved * 11, -drawn, atol=1e-4)


def test_the_result_is_the_last_epochs():
    """The release reports the best epoch on the test set."""
    outcome = Outcome([50.0, 90.0, 70.0], Ledger(), learning_rate=1.0, clipped=0.0, seconds=0.0)
    assert outcome.accuracy == 70


def test_a_release_has_no_seed():
    """The release's samples come from a public seed, its noise from a generator that is not secure."""
    samples, noises = [], []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            np.random.seed(0)  # noqa: NPY002  # that it has no effect is the point
            samples.append(secure_poisson_sample(200, 0.5))
            noises.append(SecureNoise().add(torch.zeros(20), 1.0, step=0, name="w"))
    assert not np.array_equal(*samples)
    assert not torch.equal(*noises)


@TRAINERS
def test_a_second_run_starts_afresh(case):
    """The release keeps K in Opacus's table of layers, so that a second run in one process uses the first's."""
    rules = dict(layers.RULES)
    first = checks.sums(case)
    checks.sums(replace(case, k=(3, 1, 1), clip_norms=(2.0,) * len(case.clip_norms)))
    again = checks.sums(case)
    assert all(
        torch.equal(one, other) for a, b in zip(first, again, strict=True) for one, other in zip(a, b, strict=True)
    )
    assert rules == layers.RULES


def test_a_second_adapter_on_one_model_starts_afresh():
    fresh = finish(*opacus_loop(linear(), plan(), images(12), ViewSettings(1, 0, 0)))
    model = linear()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    finish(*opacus_loop(model, plan(clip_norm=0.1), images(12), ViewSettings(4, 0, 3)))
    model.load_state_dict(start)
    assert torch.equal(finish(*opacus_loop(model, plan(), images(12), ViewSettings(1, 0, 0))), fresh)


def test_no_real_image_is_needed():
    """The release crashes at K_base = 0, Pure-DP-Mix_Diff."""
    optimizer, mix = opacus_loop(linear(), plan(), images(12), ViewSettings(0, 3, 2), synthetic=images(5, seed=2))
    assert torch.isfinite(finish(optimizer, mix)).all()
    assert mix.ledger.steps == 4


def test_a_record_is_used_at_most_once_a_step():
    """Under Opacus a loop that was broken off, or a sampler with replacement, uses one twice."""
    for step in range(50):
        for sample in (poisson_sample(1, step, 30, 0.9), secure_poisson_sample(30, 0.9)):
            assert len(np.unique(sample)) == len(sample)
    optimizer, mix = opacus_loop(linear(), plan(steps=20, batch_size=11), images(12), physical_batch=2)
    counts = Counter()
    for batch in mix.batches():
        counts.update((batch.step, int(index)) for index in batch.indices)
        mix.backward(batch)
        optimizer.step()
        optimizer.zero_grad()
    assert max(counts.values()) == 1


def test_the_last_of_everything_can_be_drawn():
    """The release draws from randint(0, L - 1), whose upper end is exclusive: never the last of S, an image of D."""
    public = images(4, seed=2)
    public.images[:] = (np.arange(4) * 60 + 30)[:, None, None, None]
    settings = ViewSettings(k_base=1, k_diff=2, k_self=4)
    indices = np.arange(60)
    made = make_views(images(60), indices, settings, KeyedRandom(0, 0, indices), public)
    assert set(made.pairs.flatten().tolist()) == {0, 1, 2}
    shades = {round(float(shade) * 255) for shade in made.images[:, 1:3].mean(dim=(2, 3, 4)).flatten()}
    assert shades == {30, 90, 150, 210}
    assert {int(index) for step in range(40) for index in poisson_sample(0, step, 60, 0.2)} == set(range(60))


def test_pixels_are_mixed_and_with_another_image():
    """In the release λ x_t + (1 - λ) x_t is x_t again, with the label of another image mixed in."""
    indices = np.arange(20)
    # Two views of each example that differ: itself and a synthetic image.
    made = make_views(images(20), indices, ViewSettings(1, 1, 6), KeyedRandom(0, 0, indices), images(5, seed=2))
    assert (made.pairs[..., 0] != made.pairs[..., 1]).all()
    checks.check_mixtures(made, 2)
    mixed = (made.weights > 0.05) & (made.weights < 0.95)
    assert mixed.sum() > 20
    nearest = (made.images[:, 2:, None] - made.images[:, None, :2]).abs().amax(dim=(3, 4, 5)).amin(dim=2)
    assert (nearest[mixed] > 0.005).all()


def test_microbatches_get_twice_the_noise():
    """Pyvacy, and the paper's equation 2, add noise for C where one record may move the sum by 2 C."""
    assert plan(microbatch_size=2, noise_multiplier=3.0, clip_norm=0.5).noise_std == 3.0
    with pytest.raises(ParamsError, match="half the noise"):
        opacus_loop(linear(), plan(microbatch_size=2), images(12))
