"""ε is computed from what was executed: noise that was measured, samples that were counted, steps that were taken.

Long because each way to execute something else than was planned is a test.
"""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from dpmix.errors import PrivacyError
from dpmix.privacy.accounting import epsilons
from dpmix.privacy.banded_plan import banded_plan
from dpmix.privacy.ledger import Ledger, as_rows, from_rows
from dpmix.privacy.noise import NoiseSource, SecureNoise, SeededNoise
from dpmix.privacy.plan import Plan
from dpmix.privacy.sampling import PoissonSampler, Sample, Sampler, executed_rate

SIZES = {"population": 400, "batch_size": 80, "epochs": 8, "clip_norm": 0.5, "delta": 1e-5}
SHAPES = {"weight": (20, 30), "bias": (20,)}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan.calibrated(**SIZES, epsilon=3)


def executed(plan: Plan, noise: NoiseSource, sampler: Sampler, steps: int | None = None, std: float = 1.0) -> Ledger:
    """A run of `plan` over sums that are zero, with noise asked for at `std` of what is planned."""
    ledger = Ledger(plan.noise_column)
    for step in range(plan.steps if steps is None else steps):
        sample = sampler.sample(step)
        for name, shape in SHAPES.items():
            ledger.add_noise(noise, torch.zeros(shape), plan.noise_std * std, step=step, name=name)
        ledger.close_step(sample, plan.sensitivity)
    return ledger


class Scaled:
    """A noise source that adds less than it is asked for."""

    def __init__(self, share: float) -> None:
        self.share, self.source = share, SeededNoise(3)

    def add(self, total: torch.Tensor, std: float, *, step: int, name: str) -> torch.Tensor:
        return self.source.add(total, std * self.share, step=step, name=name)


class Greedy:
    """A sampler that says one rate and takes units at another."""

    def __init__(self, plan: Plan, share: float) -> None:
        self.population = plan.units
        self.said, self.real = plan.sampler(1), PoissonSampler(plan.units, plan.sampling_rate * share, 1)

    def sample(self, step: int) -> Sample:
        return self.said.sample(step)._replace(units=self.real.sample(step).units)


@pytest.mark.parametrize("seed", [5, None])
def test_an_honest_run_is_certified_with_the_epsilon_of_what_it_did(plan: Plan, seed: int | None) -> None:
    ledger = executed(plan, plan.noise(seed), plan.sampler(seed))
    found = ledger.certify(plan)
    ((sigma, rate, steps),) = ledger.history()
    assert sigma == pytest.approx(plan.noise_multiplier, rel=1e-12)
    assert (rate, steps) == (executed_rate(0.2), 40)
    assert found == epsilons(noise_multiplier=sigma, sampling_rate=rate, steps=steps, delta=1e-5)
    assert 2.9 < found["pld"] <= 3


@pytest.mark.parametrize("seed", [5, None])
def test_an_honest_banded_run_is_certified(seed: int | None) -> None:
    banded = banded_plan(**SIZES, epsilon=3, bands=4)
    found = executed(banded, banded.noise(seed), banded.sampler(seed)).certify(banded)
    rate = executed_rate(banded.part_rate)
    mechanism = {"sampling_rate": rate, "steps": 10, "delta": 1e-5}
    assert found == pytest.approx(epsilons(noise_multiplier=banded.noise_multiplier, **mechanism), rel=1e-9)
    assert found["pld"] <= 3


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_source_that_adds_less_noise_than_it_was_asked_for_is_refused(plan: Plan, share: float) -> None:
    ledger = executed(plan, Scaled(share), plan.sampler(1))
    with pytest.raises(PrivacyError, match=r"the noise that was added has [0-9.]+ of the standard deviation"):
        ledger.certify(plan)


def test_noise_that_float32_swallows_is_refused(plan: Plan) -> None:
    """Beside a sum of 10⁹, float32 has steps of 64: the noise is gone."""
    ledger = Ledger()
    for step in range(plan.steps):
        ledger.add_noise(SeededNoise(3), torch.full((2000,), 1e9), plan.noise_std, step=step, name="weight")
        ledger.close_step(plan.sampler(1).sample(step), plan.sensitivity)
    with pytest.raises(PrivacyError, match="the noise that was added"):
        ledger.certify(plan)


def test_less_noise_asked_for_than_planned_is_refused(plan: Plan) -> None:
    with pytest.raises(PrivacyError, match="noise multiplier"):
        executed(plan, SeededNoise(3), plan.sampler(1), std=0.9).certify(plan)


@pytest.mark.parametrize("shares", [(1.0, 0.5), (0.5, 1.0), (2.0, 0.5, 1.0)])
def test_one_parameter_with_less_noise_counts_for_the_step(plan: Plan, shares: tuple[float, ...]) -> None:
    """Whichever it is."""
    ledger = Ledger()
    for name, share in zip("abc", shares, strict=False):
        ledger.add_noise(SeededNoise(3), torch.zeros(500), plan.noise_std * share, step=0, name=name)
    ledger.close_step(plan.sampler(1).sample(0), plan.sensitivity)
    assert ledger.history()[0].noise_multiplier == pytest.approx(plan.noise_multiplier / 2)


@pytest.mark.parametrize("share", [1.4, 0.6])
def test_a_sampler_that_says_another_rate_than_it_takes_is_refused(plan: Plan, share: float) -> None:
    with pytest.raises(PrivacyError, match="the samples hold"):
        executed(plan, SeededNoise(3), Greedy(plan, share)).certify(plan)


def test_a_higher_rate_that_is_said_is_refused(plan: Plan) -> None:
    with pytest.raises(PrivacyError, match="sampling rate"):
        executed(plan, SeededNoise(3), PoissonSampler(plan.units, 0.25, 1)).certify(plan)


@pytest.mark.parametrize("steps", [39, 41])
def test_other_steps_than_planned_are_refused(plan: Plan, steps: int) -> None:
    with pytest.raises(PrivacyError, match="steps were executed"):
        executed(plan, SeededNoise(3), plan.sampler(1), steps).certify(plan)


def test_a_plan_whose_noise_was_edited_certifies_nothing(plan: Plan) -> None:
    edited = Plan.from_json(json.loads(json.dumps({**plan.to_json(), "noise_multiplier": 0.3})))
    with pytest.raises(PrivacyError, match=r"spends epsilon \d+.* above the target 3"):
        edited.check()
    with pytest.raises(PrivacyError, match="above its target 3"):
        executed(edited, SeededNoise(3), edited.sampler(1)).certify(edited)


def test_noise_that_nobody_measured_certifies_nothing(plan: Plan) -> None:
    ledger = Ledger()
    ledger.record(plan, plan.steps)
    ledger.check(plan)
    with pytest.raises(PrivacyError, match="nobody measured the noise"):
        ledger.certify(plan)


def test_a_step_without_noise_asked_for_cannot_be_closed(plan: Plan) -> None:
    with pytest.raises(PrivacyError, match="without noise"):
        Ledger().close_step(plan.sampler(1).sample(0), plan.sensitivity)


def test_what_is_measured_stays_in_memory(plan: Plan) -> None:
    ledger = executed(plan, SecureNoise(), plan.sampler(None), steps=10)
    ledger.verify()
    assert ledger.to_json() == [[pytest.approx(plan.noise_multiplier), executed_rate(0.2), 10]]


def test_honest_noise_is_never_refused() -> None:
    """Two thousand short runs, of one entry to hundreds."""
    random = np.random.default_rng(0)
    refused = 0
    for trial in range(2000):
        ledger = Ledger()
        size = int(random.integers(1, 300))
        ledger.add_noise(SeededNoise(trial), torch.zeros(size), 2.0, step=0, name="a")
        ledger.close_step(PoissonSampler(50, 0.1, trial).sample(0), 1.0)
        try:
            ledger.verify()
        except PrivacyError:
            refused += 1
    assert refused == 0


def test_rows_survive_json(plan: Plan) -> None:
    rows = executed(plan, SeededNoise(3), plan.sampler(1), steps=3).history()
    assert from_rows(json.loads(json.dumps(as_rows(rows)))) == rows


def test_microbatches_are_held_to_the_exact_pair(plan: Plan) -> None:
    pairs = Plan.calibrated(**SIZES, epsilon=3, microbatch_size=2)
    pairs.check()
    with pytest.raises(PrivacyError):
        replace(pairs, noise_multiplier=pairs.noise_multiplier / 2).check()


Lie = Callable[[torch.Tensor, SeededNoise, float, int, str], torch.Tensor]


def drawn(source: SeededNoise, shape: tuple[int, ...], std: float, step: int, name: str) -> torch.Tensor:
    return source.add(torch.zeros(shape), std, step=step, name=name)


def quiet_column(total: torch.Tensor, source: SeededNoise, std: float, step: int, name: str) -> torch.Tensor:
    noise = drawn(source, total.shape, std, step, name)
    if noise.dim() > 1:
        noise[:, -1] = 0
    return total + noise


def equal_rows(total: torch.Tensor, source: SeededNoise, std: float, step: int, name: str) -> torch.Tensor:
    """Of the energy that is expected, so that nothing but their likeness gives the rows away."""
    row = drawn(source, total.shape[-1:], std, step, name)
    return total + row * (std * len(row) ** 0.5 / row.norm()) * torch.ones_like(total)


NOISE_LIES: dict[str, tuple[Lie, str]] = {
    "none for one parameter": (
        lambda total, source, std, step, name: (
            total if name == "bias" else total + drawn(source, total.shape, std, step, name)
        ),
        "added to bias, or to a part of it, is too little",
    ),
    "half for one parameter": (
        lambda total, source, std, step, name: (
            total + drawn(source, total.shape, std, step, name) * (0.5 if name == "bias" else 1)
        ),
        "added to bias, or to a part of it, is too little",
    ),
    "none for one column": (quiet_column, "added to weight, or to a part of it, is too little"),
    "none in one step": (
        lambda total, source, std, step, name: (
            total if step == 7 else total + drawn(source, total.shape, std, step, name)
        ),
        "in some step is less",
    ),
    "the same every twenty steps": (
        lambda total, source, std, step, name: total + drawn(source, total.shape, std, step % 20, name),
        "repeats or cancels from step to step",
    ),
    "what cancels from step to step": (
        lambda total, source, std, step, name: total + (-1) ** step * drawn(source, total.shape, std, step // 2, name),
        "repeats or cancels from step to step",
    ),
    "the same for all rows": (equal_rows, "repeats or cancels within it"),
    "the same for two parameters": (
        lambda total, source, std, step, name: total + drawn(source, total.shape, std, step, "any"),
        "two parameters have had the same noise",
    ),
    "noise beside a sum that counts twice": (
        lambda total, source, std, step, name: 2 * total + drawn(source, total.shape, std, step, name),
        "goes with the sum",
    ),
}


class Lying:
    """A noise source that adds something else than it is asked for."""

    def __init__(self, lie: Lie) -> None:
        self.lie, self.source = lie, SeededNoise(3)

    def add(self, total: torch.Tensor, std: float, *, step: int, name: str) -> torch.Tensor:
        return self.lie(total, self.source, std, step, name)


def with_sums(plan: Plan, noise: NoiseSource, length: float = 0.5) -> Ledger:
    """A run whose sums have a given share of the length that their sample allows, in directions that vary."""
    ledger, random, sampler = Ledger(plan.noise_column), torch.Generator().manual_seed(0), plan.sampler(1)
    for step in range(plan.steps):
        sample = sampler.sample(step)
        sums = {name: torch.randn(shape, generator=random) for name, shape in SHAPES.items()}
        norm = torch.stack([one.square().sum() for one in sums.values()]).sum().sqrt()
        for name, one in sums.items():
            total = one / norm * length * len(sample.units) * plan.clip_norm
            ledger.add_noise(noise, total, plan.noise_std, step=step, name=name)
        ledger.close_step(sample, plan.sensitivity)
    return ledger


@pytest.mark.parametrize("lie", NOISE_LIES)
def test_a_noise_source_that_lies_is_refused(plan: Plan, lie: str) -> None:
    how, words = NOISE_LIES[lie]
    found = with_sums(plan, Lying(how))
    with pytest.raises(PrivacyError, match=words):
        found.certify(plan)


def test_a_banded_source_that_repeats_itself_is_refused() -> None:
    banded = banded_plan(**SIZES, epsilon=3, bands=4)
    with_sums(banded, banded.noise(3)).certify(banded)

    class Frozen:
        def add(self, total: torch.Tensor, std: float, *, step: int, name: str) -> torch.Tensor:
            return total + 3 * drawn(SeededNoise(3), total.shape, std, 0, name)

    with pytest.raises(PrivacyError, match="mend the noise source"):
        with_sums(banded, Frozen()).certify(banded)


def test_a_sum_longer_than_its_clipped_gradients_is_refused(plan: Plan) -> None:
    with_sums(plan, SeededNoise(3), 1.0).certify(plan)
    with pytest.raises(PrivacyError, match="a sum is longer than the clipped gradients"):
        with_sums(plan, SeededNoise(3), 1.01).certify(plan)


class Partial:
    """A sampler of which a function changes every sample."""

    def __init__(self, plan: Plan, change: Callable[[int, Sample], np.ndarray]) -> None:
        self.population, self.honest, self.change = plan.units, plan.sampler(1), change

    def sample(self, step: int) -> Sample:
        honest = self.honest.sample(step)
        return honest._replace(units=np.sort(self.change(step, honest)))


ORDER = np.random.default_rng(0).permutation(400)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda step, honest: np.union1d(honest.units, [7]), "some unit is in the samples far more or less often"),
        (lambda step, honest: ORDER[step % 5 * 80 :][:80], "samples repeat or avoid earlier ones"),
        (lambda step, honest: np.append(honest.units, honest.units[0]), "in one sample twice"),
        (lambda step, honest: np.append(honest.units, 400), "could not have been"),
    ],
    ids=["one record in every sample", "shuffled epochs", "one record twice", "a record beyond the population"],
)
def test_a_sampler_that_is_not_poisson_is_refused(
    plan: Plan, change: Callable[[int, Sample], np.ndarray], words: str
) -> None:
    with pytest.raises(PrivacyError, match=words):
        executed(plan, SeededNoise(3), Partial(plan, change)).certify(plan)


def test_samples_that_repeat_are_refused_where_each_unit_alone_may(plan: Plan) -> None:
    """Eight times the same sample: one unit may be in all, once in 400,000 runs, but not eighty."""
    short = replace(plan, steps=8)
    with pytest.raises(PrivacyError, match="samples repeat or avoid earlier ones"):
        executed(short, SeededNoise(3), Partial(short, lambda step, honest: short.sampler(1).sample(0).units)).verify()


def test_banded_noise_with_samples_of_everybody_is_refused() -> None:
    """Noise that is correlated over four steps covers a record that is in one of them, not in all."""
    banded = banded_plan(**SIZES, epsilon=3, bands=4)
    everybody = PoissonSampler(banded.units, banded.part_rate, 1)
    with pytest.raises(PrivacyError, match="could be sampled twice within 4 steps"):
        executed(banded, banded.noise(3), everybody).certify(banded)


def test_honest_runs_are_refused_as_rarely_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a chance of 1/1000 for each of at most nine kinds of test, fewer than 27 of 300 runs (mean 2.7, p < 1e-16)."""
    monkeypatch.setattr("dpmix.privacy.measurement._CHANCE", 1e-3)
    random = np.random.default_rng(0)
    refused = 0
    for trial in range(300):
        plan = replace(
            Plan.make(population=60, batch_size=int(random.integers(1, 60)), epochs=1, clip_norm=1.0,
                      noise_multiplier=float(random.choice([1e-4, 1.0, 30.0])), delta=1e-5),
            steps=int(random.choice([1, 2, 9, 40])),
        )  # fmt: skip
        ledger = with_sums(plan, SeededNoise(trial), float(random.random()))
        try:
            ledger.verify()
        except PrivacyError:
            refused += 1
    assert refused < 27


@pytest.mark.parametrize(
    ("rows", "steps"),
    [([[9.0, 0.2, 5]], 5), ([[1.0, 0.1, 5]], 5), ([[1.0, 0.2, 5]], 4), ([[1.0, 0.2, 5]], 0), ([], 5),
     ([[1.0, 0.2, 50]], 50), ([[float("nan"), 0.2, 5]], 5)],
)  # fmt: skip
def test_a_ledger_from_a_file_is_a_claim(rows: list[list[float]], steps: int) -> None:
    plan = Plan.make(**SIZES, noise_multiplier=1.0)
    Ledger.from_json([[1.0, executed_rate(0.2), 5]]).refuse_another(plan, 5)
    rows = [[sigma, executed_rate(rate), count] for sigma, rate, count in rows]
    with pytest.raises(PrivacyError):
        Ledger.from_json(rows).refuse_another(plan, steps)
