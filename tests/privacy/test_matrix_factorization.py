"""Banded noise: that it is what its accounting assumes, in steps, records and strength."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.banded_plan import BandedPlan
from dpmix.privacy.matrix_factorization import (
    BandedNoise,
    cyclic_part,
    cyclic_poisson_sample,
    prefix_rmse,
    secure_cyclic_poisson_sample,
    strategy,
)
from dpmix.privacy.noise import SeededNoise, gaussian
from dpmix.privacy.sampling import poisson_sample
from tests.needs import GPU, JAX_PRIVACY, module, needs
from tests.privacy.bands import DELTA, KINDS, matrix


# --- Strategies ------------------------------------------------------------------------------------------------------
def test_the_truncated_square_root():
    expected = np.array([1, 1 / 2, 3 / 8, 5 / 16])
    assert strategy(4, 9, "sqrt") == pytest.approx(expected / np.linalg.norm(expected), rel=1e-14)
    # With every band it is the square root of the prefix sums.
    root = matrix(strategy(9, 9, "sqrt"), 9)
    assert root @ root / root[0, 0] ** 2 == pytest.approx(np.tril(np.ones((9, 9))))
    assert strategy(1, 5) == strategy(1, 5, "sqrt") == (1.0,)


@pytest.mark.parametrize(("bands", "steps"), [(1, 7), (2, 2), (4, 31), (31, 31)])
def test_rmse_of_prefix_sums(bands, steps):
    column = strategy(bands, steps)
    factor = np.tril(np.ones((steps, steps))) @ np.linalg.inv(matrix(column, steps))
    assert prefix_rmse(column, steps) == pytest.approx(math.sqrt((factor**2).sum() / steps))
    assert prefix_rmse((1.0,), steps) == pytest.approx(math.sqrt((steps + 1) / 2))


@given(st.integers(2, 40), st.integers(0, 500))
@settings(max_examples=40)
def test_the_optimal_strategy(bands, more):
    steps = bands + more
    found, root = strategy(bands, steps), strategy(bands, steps, "sqrt")
    assert len(found) == bands
    assert math.hypot(*found) == pytest.approx(1, abs=1e-14)
    # Falling and positive: then all roots of the series lie outside the unit circle, and y = C⁻¹ z never grows.
    assert all(0 <= later <= earlier for earlier, later in itertools.pairwise(found))
    best = prefix_rmse(found, steps)
    assert best <= prefix_rmse(root, steps) + 1e-12
    for place in range(bands):
        moved = np.array(found)
        moved[place] *= 1.01
        assert prefix_rmse(moved / np.linalg.norm(moved), steps) >= best * (1 - 1e-6)


@pytest.mark.slow
def test_strategies_agree_with_jax_privacy():
    factorization = module("jax_privacy.matrix_factorization.toeplitz", JAX_PRIVACY)
    bands, steps = 8, 240
    theirs = np.asarray(factorization.optimize_banded_toeplitz(n=steps, bands=bands), dtype=float)
    assert np.allclose(strategy(bands, steps), theirs, atol=2e-3)
    assert prefix_rmse(strategy(bands, steps), steps) <= prefix_rmse(theirs, steps) * (1 + 1e-6)
    error = math.sqrt(float(factorization.loss(np.asarray(theirs), steps)))
    assert prefix_rmse(theirs / np.linalg.norm(theirs), steps) == pytest.approx(error, rel=1e-4)
    squared = factorization.minsep_sensitivity_squared(np.asarray(strategy(bands, steps)), min_sep=bands, n=steps)
    assert float(squared) == pytest.approx(-(-steps // bands), rel=1e-3)


# --- Sensitivity -----------------------------------------------------------------------------------------------------
@st.composite
def turns(draw, smallest_gap: int):
    steps = draw(st.integers(1, 40))
    chosen, step = [], draw(st.integers(0, 3))
    while step < steps:
        chosen.append(step)
        step += smallest_gap + draw(st.integers(0, 4))
    return steps, chosen


@given(st.data(), st.integers(1, 8), st.sampled_from(KINDS))
@settings(max_examples=150)
def test_each_turn_moves_the_encoded_sums_by_at_most_the_clip_norm(data, bands, kind):
    steps, chosen = data.draw(turns(bands))
    encoder = matrix(strategy(bands, max(steps, bands), kind), steps)
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    gradients = random.normal(size=(steps, 3))
    gradients /= np.linalg.norm(gradients, axis=1, keepdims=True)
    blocks = [encoder[:, [step]] * gradients[step] for step in chosen]
    for block in blocks:
        assert np.linalg.norm(block) <= 1 + 1e-12
    # No row belongs to two turns, so each turn is a mechanism of its own.
    assert (sum((block != 0).any(axis=1).astype(int) for block in blocks) <= 1).all() if blocks else True
    assert np.linalg.norm(sum(blocks)) ** 2 <= len(chosen) + 1e-9 if blocks else True


@pytest.mark.parametrize("kind", KINDS)
def test_turns_closer_than_the_bands_would_cost_more(kind):
    encoder = matrix(strategy(4, 20, kind), 20)
    assert np.linalg.norm(encoder[:, ::4].sum(axis=1)) ** 2 <= 5
    assert np.linalg.norm(encoder[:, ::3].sum(axis=1)) ** 2 > 7 * 1.1


# --- Noise -----------------------------------------------------------------------------------------------------------
def drawn(noise, steps: int, size=(30_000,), std: float = 2.0, name: str = "weight") -> torch.Tensor:
    return torch.stack([noise.add(torch.zeros(size), std, step=step, name=name) for step in range(steps)])


@pytest.mark.parametrize("seed", [3, None], ids=["research", "release"])
@pytest.mark.parametrize("kind", KINDS)
def test_covariance_over_steps(seed, kind):
    steps, column = 7, strategy(3, 7, kind)
    found = drawn(BandedNoise(column, seed), steps).double().numpy()
    encoder = matrix(column, steps)
    expected = 4 * np.linalg.inv(encoder.T @ encoder)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.abs(np.cov(found) - expected).max() < 6 * scale.max() * math.sqrt(2 / found.shape[1])
    # Encoded, it is white, and Gaussian.
    white = encoder @ found / 2
    assert stats.kstest(white.ravel(), "norm").pvalue > 1e-4
    correlations = np.corrcoef(white)[~np.eye(steps, dtype=bool)]
    assert np.abs(correlations).max() < 6 / math.sqrt(found.shape[1])


@pytest.mark.parametrize("bands", [1, 2, 5])
def test_it_is_made_of_researchs_own_draws(bands):
    steps, column = 12, strategy(bands, 12)
    found = drawn(BandedNoise(column, seed=5), steps, (2, 3), 0.5).double().flatten(1).numpy()
    fresh = [gaussian((2, 3), 0.5, seed=5, step=step, name="weight").flatten() for step in range(steps)]
    assert np.allclose(matrix(column, steps) @ found, torch.stack(fresh).double().numpy(), atol=1e-6)


def test_one_band_is_white_noise_to_the_bit():
    total = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    banded, research = BandedNoise((1.0,), seed=9), SeededNoise(9)
    for step in range(4):
        for name, std in (("a", 0.3), ("b", torch.rand(4, 1))):
            expected = research.add(total, std, step=step, name=name)
            assert torch.equal(banded.add(total, std, step=step, name=name), expected)


def test_names_and_standard_deviations_are_separate():
    noise, column = BandedNoise(strategy(3, 9), seed=1), torch.tensor([[0.0], [1.0], [3.0]])
    both = [noise.add(torch.zeros(3, 50), column, step=step, name="heads") for step in range(3)]
    other = [noise.add(torch.zeros(3, 50), 1.0, step=step, name="other") for step in range(3)]
    alone = drawn(BandedNoise(strategy(3, 9), seed=1), 3, (3, 50), 1.0, "heads")
    for step in range(3):
        assert torch.allclose(both[step], alone[step] * column)
        assert abs(np.corrcoef(other[step].flatten(), alone[step].flatten())[0, 1]) < 0.4
    total = torch.rand(3)
    assert noise.add(total, 0.0, step=3, name="heads") is total


def test_a_research_run_resumes_without_state_to_the_bit():
    column, whole = strategy(4, 20), BandedNoise(strategy(4, 20), seed=2)
    expected = drawn(whole, 9, (6,))
    resumed = BandedNoise(column, seed=2)
    for step in (6, 7, 7, 8, 2):  # a step asked for twice, and one that lies behind
        assert torch.equal(resumed.add(torch.zeros(6), 2.0, step=step, name="weight"), expected[step])


@pytest.mark.parametrize("at", [1, 2, 6])
def test_a_saved_state_goes_on_to_the_bit(at, tmp_path):
    from safetensors.torch import load_file, save_file

    column = strategy(4, 20)
    expected = {name: drawn(BandedNoise(column, seed=2), 9, (6,), name=name) for name in ("a", "b.weight")}
    first, second = BandedNoise(column, seed=2), BandedNoise(column, seed=2)
    for step in range(9):
        noise = first if step < at else second
        for name in expected:
            assert torch.equal(noise.add(torch.zeros(6), 2.0, step=step, name=name), expected[name][step])
        if step == at - 1:
            save_file(first.state_dict(), tmp_path / "noise.safetensors")
            second.load_state_dict(load_file(tmp_path / "noise.safetensors"))
    # What was loaded was gone on from, not drawn again from the first step.
    assert all(past.step == 8 and len(past.draws) == 3 for past in second._past.values())


def test_a_release_resumes_with_its_state_alone():
    column = strategy(3, 9)
    first, second = BandedNoise(column, seed=None), BandedNoise(column, seed=None)
    size = (20_000,)
    before = [first.add(torch.zeros(size), 1.0, step=step, name="w") for step in range(4)]
    with pytest.raises(PrivacyError, match="resume it with its saved state"):
        second.add(torch.zeros(size), 1.0, step=4, name="w")
    second.load_state_dict(first.state_dict())
    after = [second.add(torch.zeros(size), 1.0, step=step, name="w") for step in range(4, 7)]
    white = matrix(column, 7) @ torch.stack(before + after).double().numpy()
    assert np.abs(np.corrcoef(white)[~np.eye(7, dtype=bool)]).max() < 6 / math.sqrt(size[0])
    assert np.abs(white.std(axis=1) - 1).max() < 0.04


def test_a_release_gives_one_noise_to_one_model_only():
    noise = BandedNoise(strategy(3, 9), seed=None)
    first = noise.add(torch.zeros(5), 1.0, step=0, name="w")
    with pytest.raises(PrivacyError, match="noise of its own"):
        noise.add(torch.zeros(5), 1.0, step=0, name="w")
    assert not torch.equal(first, BandedNoise(strategy(3, 9), seed=None).add(torch.zeros(5), 1.0, step=0, name="w"))


def test_a_release_rounds_to_the_grid_of_its_noise():
    noisy = BandedNoise(strategy(3, 9), seed=None).add(torch.rand(999).double(), 1.0, step=0, name="w")
    assert torch.equal(torch.round(noisy * 2**20), noisy * 2**20)


@needs(GPU, torch.cuda.is_available())
@pytest.mark.parametrize("seed", [3, None])
def test_noise_on_another_device(seed):
    on_gpu, on_cpu = BandedNoise(strategy(3, 9), seed), BandedNoise(strategy(3, 9), seed)
    for step in range(5):
        noisy = on_gpu.add(torch.zeros(1000).cuda(), 2.0, step=step, name="w")
        expected = on_cpu.add(torch.zeros(1000), 2.0, step=step, name="w")
        assert noisy.is_cuda
        assert seed is None or torch.equal(noisy.cpu(), expected)


def test_states_that_do_not_fit():
    noise = BandedNoise(strategy(3, 9), seed=0)
    empty = noise.state_dict()
    noise.load_state_dict(empty)
    drawn(noise, 4, (2,))
    with pytest.raises(ParamsError, match="another number of bands"):
        BandedNoise(strategy(4, 9), seed=0).load_state_dict(noise.state_dict())
    noise.add(torch.zeros(2), 1.0, step=0, name="other")
    with pytest.raises(PrivacyError, match="between steps"):
        noise.state_dict()


@pytest.mark.parametrize("column", [(), (0.0, 1.0), (0.9, 0.9), (math.nan,), (-1.0,)])
def test_noise_that_would_be_too_small(column):
    with pytest.raises(ParamsError, match="norm at most 1"):
        BandedNoise(column, seed=0)


# --- Sampling --------------------------------------------------------------------------------------------------------
@given(st.integers(1, 300), st.integers(1, 12), st.integers(0, 99), st.data())
@settings(max_examples=60)
def test_parts_are_fixed_disjoint_and_even(population, bands, seed, data):
    bands = min(bands, population)
    batch_size = data.draw(st.integers(1, population // bands))
    parts = [cyclic_part(step, population, batch_size, bands) for step in range(bands)]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(population))
    assert {len(part) for part in parts} <= {population // bands, -(-population // bands)}
    step = data.draw(st.integers(0, 10_000))
    assert np.array_equal(cyclic_part(step, population, batch_size, bands), parts[step % bands])
    for chosen in (
        cyclic_poisson_sample(seed, step, population, batch_size, bands),
        secure_cyclic_poisson_sample(step, population, batch_size, bands),
    ):
        assert np.isin(chosen, parts[step % bands]).all()
        assert (np.diff(chosen) > 0).all()
        assert batch_size * bands < population or len(chosen) == population // bands


def test_every_record_has_its_turns_at_the_exact_rate():
    population, batch_size, bands, steps = 61, 9, 4, 2000
    plan = BandedPlan(population, batch_size, steps, 1.0, 1.0, DELTA, coefficients=strategy(bands, steps))
    taken = np.zeros((steps, population), bool)
    for step in range(steps):
        taken[step, cyclic_poisson_sample(3, step, population, batch_size, bands)] = True
    assert plan.part_rate == 36 / 61
    for record in range(population):
        at = np.flatnonzero(taken[:, record])
        assert len(set(at % bands)) == 1
        assert len(at) <= plan.participations
    rates = taken.reshape(-1, bands, population).any(axis=1).mean(axis=0)
    deviation = math.sqrt(plan.part_rate * (1 - plan.part_rate) / plan.participations)
    assert np.abs(rates - plan.part_rate).max() < 5 * deviation
    # A batch has B records in the mean over a cycle, and records are taken independently.
    assert abs(taken.sum(axis=1).mean() - batch_size) < 0.2
    other = np.corrcoef(taken.reshape(-1, bands, population).any(axis=1).T)[~np.eye(population, dtype=bool)]
    assert np.abs(other).max() < 6 / math.sqrt(steps / bands)


def test_secure_samples_are_at_the_rate_and_never_the_same():
    samples = [secure_cyclic_poisson_sample(1, 1000, 100, 4) for _ in range(200)]
    assert abs(sum(map(len, samples)) / (200 * 250) - 0.4) < 0.02
    assert len({sample.tobytes() for sample in samples}) == 200


@given(st.integers(1, 200), st.integers(0, 50), st.data())
def test_one_band_samples_as_ever(population, step, data):
    batch_size = data.draw(st.integers(1, population))
    expected = poisson_sample(4, step, population, batch_size / population)
    assert np.array_equal(cyclic_poisson_sample(4, step, population, batch_size), expected)
