"""Banded noise: that it is what its accounting assumes, in steps, records and strength."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.linalg import toeplitz

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.accounting import epsilon, noise_multiplier
from dpmix.privacy.audit import epsilon_lower_bound
from dpmix.privacy.ledger import Ledger
from dpmix.privacy.matrix_factorization import (
    BandedNoise,
    BandedPlan,
    banded_plan,
    cyclic_part,
    cyclic_poisson_sample,
    plan_from_json,
    prefix_rmse,
    relative_rmse,
    secure_cyclic_poisson_sample,
    strategy,
)
from dpmix.privacy.noise import Research, gaussian
from dpmix.privacy.plan import Plan
from dpmix.privacy.sampling import poisson_sample
from tests.needs import GPU, JAX_PRIVACY, module, needs

DELTA = 1e-5
KINDS = ("optimal", "sqrt")


def matrix(coefficients, steps: int) -> np.ndarray:
    """C, float64 [T, T]."""
    column = np.zeros(steps)
    column[: len(coefficients)] = coefficients[:steps]
    return np.tril(toeplitz(column))


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
    banded, research = BandedNoise((1.0,), seed=9), Research(9)
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
        assert len(at) <= plan.turns
    rates = taken.reshape(-1, bands, population).any(axis=1).mean(axis=0)
    deviation = math.sqrt(plan.part_rate * (1 - plan.part_rate) / plan.turns)
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


# --- Plans -----------------------------------------------------------------------------------------------------------

TARGET = {
    "population": 1000,
    "batch_size": 100,
    "epochs": 6.2,
    "clip_norm": 0.5,
    "epsilon": 4.0,
    "delta": DELTA,
}


@pytest.fixture(scope="module")
def banded() -> BandedPlan:
    return banded_plan(**TARGET, bands=4)


def test_accounted_as_fewer_steps_at_a_higher_rate(banded):
    assert (banded.steps, banded.bands, banded.turns, banded.part_rate) == (62, 4, 16, 0.4)
    sigma = noise_multiplier("pld", epsilon=4.0, delta=DELTA, sampling_rate=0.4, steps=16)
    assert banded.noise_multiplier == sigma
    assert banded.noise_std == sigma * 0.5
    for name, value in banded.epsilons().items():
        spent = epsilon(name, noise_multiplier=sigma, sampling_rate=0.4, steps=16, delta=DELTA)
        assert value == pytest.approx(spent, rel=1e-12)
    assert 3.99 < banded.epsilons()["pld"] <= 4
    assert banded.coefficients == strategy(4, 62)
    assert banded_plan(**TARGET, bands=4, kind="sqrt").coefficients == strategy(4, 62, "sqrt")


@pytest.mark.parametrize("microbatch_size", [1, 2])
def test_one_band_is_the_plan_of_dp_sgd(microbatch_size):
    plain = Plan.calibrated(**TARGET, microbatch_size=microbatch_size)
    one = banded_plan(**TARGET, microbatch_size=microbatch_size, bands=1)
    values = one.to_json()
    assert values.pop("coefficients") == (1.0,)
    assert values == plain.to_json()
    assert one.part_rate == plain.sampling_rate
    assert one.turns == plain.steps
    ledger = Ledger()
    ledger.record(plain, 5)
    assert ledger.spent(one) == ledger.spent(plain)


@pytest.mark.parametrize("target", [1.0, 8.0])
@pytest.mark.parametrize("bands", [2, 5, 10])
def test_without_its_trainer_a_banded_plan_only_adds_too_much_noise(bands, target):
    """Amplification favours low rates: DP-SGD at B / N with the banded σ spends less than what was planned."""
    sigma = noise_multiplier("pld", epsilon=target, delta=DELTA, sampling_rate=0.1 * bands, steps=-(-60 // bands))
    assert epsilon("pld", noise_multiplier=sigma, sampling_rate=0.1, steps=60, delta=DELTA) < target


def test_ledgers_count_turns(banded):
    ledger = Ledger()
    ledger.record(banded, 62)
    ledger.check(banded)
    assert ledger.spent(banded) == banded.epsilons()
    interrupted = Ledger()
    interrupted.record(banded, 30)
    interrupted.check(banded)
    sigma = banded.noise_multiplier
    expected = epsilon("pld", noise_multiplier=sigma, sampling_rate=0.4, steps=8, delta=DELTA)
    assert interrupted.spent(banded)["pld"] == pytest.approx(expected)
    assert expected < 4
    longer = Ledger()
    longer.record(banded, 63)
    with pytest.raises(PrivacyError, match="63 steps"):
        longer.check(banded)
    # Steps unlike each other all count as the most revealing, whoever's turn they were.
    mixed = Ledger()
    mixed.add(2 * sigma, 0.2, 3)
    mixed.add(sigma, 0.4, 2)
    assert banded.accounted(mixed.history()) == [(sigma, 0.4, 2)]
    assert banded.accounted([]) == []


def test_plans_survive_json(banded):
    values = json.loads(json.dumps(banded.to_json()))
    assert plan_from_json(values) == banded
    assert hash(plan_from_json(values)) == hash(banded)
    plain = Plan(1000, 100, 62, 0.5, 1.0, DELTA)
    assert type(plan_from_json(json.loads(json.dumps(plain.to_json())))) is Plan
    # Code that knows nothing of bands refuses the file.
    with pytest.raises(ParamsError, match="unknown coefficients"):
        Plan.from_json(values)
    with pytest.raises(ParamsError, match="not a privacy plan"):
        plan_from_json({**values, "coefficients": ["much"]})


def test_no_privacy_no_noise():
    plan = banded_plan(**{**TARGET, "epsilon": math.inf}, bands=4)
    assert plan.noise_std == 0
    assert set(plan.epsilons().values()) == {math.inf}
    with pytest.raises(ParamsError, match="finite epsilon"):
        relative_rmse(plan)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bands": 0}, "number of bands"),
        ({"bands": 2.0}, "number of bands"),
        ({"bands": 11}, "use at most 10 bands"),
        ({"batch_size": 600}, "use at most 1 bands"),
        ({"epochs": 0.3}, "4 bands exceed the 3 steps"),
        ({"microbatch_size": 2}, "microbatches"),
        ({"kind": "best"}, "choose optimal or sqrt"),
        ({"clip_norm": 0}, "clip norm"),
    ],
)
def test_what_cannot_be_accounted(changes, words):
    with pytest.raises(ParamsError, match=words):
        banded_plan(**{**TARGET, "bands": 4, **changes})
    with pytest.raises(ParamsError, match="use at most 3 bands"):
        cyclic_poisson_sample(0, 0, 10, 3, 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("population", "batch_size", "epochs", "target", "bands", "expected"),
    [
        (24_485, 1000, 10, 8.0, 8, 0.78),  # Caltech256
        (50_000, 1000, 10, 8.0, 24, 0.66),  # CIFAR-10, fine-tuning
        (50_000, 4096, 200, 8.0, 2, 1.03),  # CIFAR-10, from scratch
    ],
)
def test_what_banding_gains(population, batch_size, epochs, target, bands, expected):
    """The truncated square root against figures computed independently, by another program."""
    plan = banded_plan(
        population=population,
        batch_size=batch_size,
        epochs=epochs,
        clip_norm=1.0,
        epsilon=target,
        delta=DELTA,
        bands=bands,
        kind="sqrt",
    )
    assert relative_rmse(plan) == pytest.approx(expected, abs=0.015)
    better = prefix_rmse(strategy(bands, plan.steps), plan.steps) / prefix_rmse(plan.coefficients, plan.steps)
    assert 0.85 < better < 0.97


@pytest.mark.slow
def test_at_epsilon_one_banding_gains_nothing():
    plan = banded_plan(**{**TARGET, "population": 24_485, "batch_size": 1000, "epochs": 10, "epsilon": 1.0}, bands=8)
    assert relative_rmse(plan) > 1.05


# --- Audit -----------------------------------------------------------------------------------------------------------


def attack(plan: BandedPlan, *, every_step: bool = False, less_noise: float = 1.0) -> float:
    """ε's lower bound from canaries with a coordinate each, all of the first part, in at random; every draw is seen.

    Sampling is off (q = 1), so that the bound can come close.
    """
    count, random = 20_000, np.random.default_rng(1)
    inside = random.random(count) < 0.5
    noise = BandedNoise(plan.coefficients, seed=6)
    released = []
    for step in range(plan.steps):
        present = inside if every_step or step % plan.bands == 0 else np.zeros(count, bool)
        total = torch.from_numpy(present.astype(np.float32) * plan.clip_norm)
        released.append(noise.add(total, plan.noise_std / less_noise, step=step, name="weight").double().numpy())
    encoder = matrix(plan.coefficients, plan.steps)
    used = encoder[:, :: 1 if every_step else plan.bands].sum(axis=1)
    scores = used @ (encoder @ np.stack(released))
    return epsilon_lower_bound(scores[inside], scores[~inside], DELTA, confidence=0.99, method="mean")


def test_canaries_against_banded_noise():
    plan = banded_plan(population=300, batch_size=100, epochs=2, clip_norm=0.5, epsilon=4.0, delta=DELTA, bands=3)
    assert (plan.part_rate, plan.steps) == (1.0, 6)
    assert 3.6 < attack(plan) <= 4
    assert attack(plan, less_noise=2) > 8
    # Noise that is accounted by turns does not hide records who are there at every step.
    assert attack(plan, every_step=True) > 4.5
