"""ε of the paper's runs, against numbers that were found with other programs, and against closed forms."""

import math

import pytest
from opacus.accountants.utils import get_noise_multiplier
from scipy.optimize import brentq
from scipy.special import ndtr

from dpmix.errors import ParamsError
from dpmix.privacy.published_procedure import Procedure

NOMINAL = (1, 2, 4, 8)
# N, E, and for each nominal ε the released program's σ, and the worst case of its batches, as printed.
HEADS = [
    (50_000, 10, (2.031, 1.262, 0.901, 0.689), ("7.37", "13.2", "20.5", "29.4")),
    (21_600, 20, (4.063, 2.275, 1.382, 0.943), ("4.89", "9.79", "18.4", "30.8")),
    (21_600, 10, (2.969, 1.738, 1.135, 0.817), ("4.71", "8.90", "15.2", "23.3")),
    (24_485, 10, (2.813, 1.650, 1.091, 0.794), ("5.02", "9.48", "15.9", "24.2")),
    (87_003, 10, (1.602, 1.062, 0.799, 0.629), ("9.84", "16.5", "24.0", "33.4")),
    (3680, 10, (6.875, 3.789, 2.188, 1.346), ("1.82", "3.55", "6.75", "12.2")),
]
PETS_TAKEN = ("1.055", "2.11", "4.22", "8.42")


def printed(value: float, like: str) -> str:
    return f"{value:.{len(like.partition('.')[2])}f}"


def worst_case(sigma: float, epochs: int, delta: float = 1e-5) -> float:
    """ε of E Gaussian mechanisms: δ(ε) = Φ(μ/2 - ε/μ) - e^ε Φ(-μ/2 - ε/μ) for μ = √E / σ (Balle and Wang, 2018)."""
    mu = math.sqrt(epochs) / sigma

    def excess(value: float) -> float:
        return float(ndtr(mu / 2 - value / mu) - math.exp(value) * ndtr(-mu / 2 - value / mu)) - delta

    return float(brentq(excess, 0, 100))


@pytest.mark.parametrize(("population", "epochs", "sigmas", "executed"), HEADS)
@pytest.mark.parametrize("at", range(4))
def test_the_released_program(
    population: int, epochs: int, sigmas: tuple[float, ...], executed: tuple[str, ...], at: int
) -> None:
    procedure = Procedure(population, 1000, epochs, NOMINAL[at], 1e-5, batches="fixed-order")
    sigma = procedure.noise_multiplier()
    # Opacus rounds as the program lets it: by epochs.
    called = {"target_epsilon": NOMINAL[at], "target_delta": 1e-5, "sample_rate": 1000 / population, "epochs": epochs}
    assert sigma == get_noise_multiplier(**called)
    assert sigma == pytest.approx(sigmas[at], abs=6e-4)
    spent = procedure.epsilons(sigma)
    assert printed(spent["executed"], executed[at]) == executed[at]
    assert spent["executed"] == pytest.approx(worst_case(sigma, epochs), rel=2e-4)
    assert spent["executed"] >= worst_case(sigma, epochs)
    assert spent["pld"] < spent["prv"] < spent["rdp"] <= NOMINAL[at]
    assert NOMINAL[at] - 0.011 < spent["rdp"]
    if population == 3680:
        assert printed(spent["taken"], PETS_TAKEN[at]) == PETS_TAKEN[at]
    else:
        # Nominal beside executed, as far as the program's own sampling would have gone.
        assert spent["rdp"] <= spent["taken"] <= NOMINAL[at] + 0.08


def test_pets_are_printed_below_their_target() -> None:
    procedure = Procedure(3680, 1000, 10, 1, 1e-5, batches="reshuffled")
    assert (procedure.steps, procedure.steps_taken, procedure.divisor) == (36, 40, 920)
    spent = procedure.epsilons(procedure.noise_multiplier())
    assert f"{spent['printed']:.3f}" == "0.964"
    assert spent["printed"] < 1 < spent["taken"]


@pytest.mark.parametrize(
    ("population", "epochs", "steps", "taken", "divisor"),
    [
        (24_485, 10, 244, 250, 979),
        (21_600, 20, 432, 440, 981),
        (87_003, 10, 870, 880, 988),
        (50_000, 10, 500, 500, 1000),
    ],
)
def test_steps_and_divisors(population: int, epochs: int, steps: int, taken: int, divisor: int) -> None:
    procedure = Procedure(population, 1000, epochs, 1, 1e-5)
    assert (procedure.steps, procedure.steps_taken, procedure.divisor) == (steps, taken, divisor)


def test_from_scratch_with_a_loader() -> None:
    """The authors' later program has this σ as a number; its batches are Poisson samples, so that ε is what it says."""
    procedure = Procedure(50_000, 4096, 200, 8, 1e-5, rate="loader", microbatches=True)
    assert (procedure.sampling_rate, procedure.steps, procedure.divisor) == (1 / 13, 2600, 3846)
    sigma = procedure.noise_multiplier()
    assert sigma == 2.62451171875
    spent = procedure.epsilons(sigma)
    assert spent["rdp"] == spent["taken"] == spent["printed"]
    assert spent["executed"] == spent["pld"] < 7.5
    # Equation 2 has this noise for microbatches, where one record moves the sum by up to 2C.
    assert f"{spent['undoubled']:.1f}" == "21.8"
    assert 16 < spent["undoubled_exact"] < 17


def test_only_poisson_samples_are_amplified() -> None:
    """A new order in each epoch is accounted as the same one in all."""
    ways = [Procedure(1000, 100, 2, 1, 1e-3, batches=way) for way in ("poisson", "fixed-order", "reshuffled")]
    poisson, fixed, reshuffled = (way.epsilons(2.0) for way in ways)
    assert poisson["executed"] == poisson["pld"] < fixed["executed"] == reshuffled["executed"]
    assert fixed["executed"] == pytest.approx(worst_case(2.0, 2, 1e-3), rel=2e-4)


def test_without_microbatches_nothing_is_said_of_them() -> None:
    spent = Procedure(1000, 100, 2, 1, 1e-3).epsilons(2.0)
    assert set(spent) == {"rdp", "prv", "pld", "taken", "printed", "executed"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 101}, "2 epochs of batches of 101 out of 100 are no training; give whole numbers"),
        ({"epochs": 0}, "0 epochs of batches of 50"),
        ({"batch_size": 0}, "batches of 0"),
        ({"rate": "size"}, "unknown rate 'size'; did you mean 'sizes'?"),
        ({"batches": "poison"}, "unknown batches 'poison'; did you mean 'poisson'?"),
    ],
)
def test_what_is_no_training_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ParamsError) as caught:
        Procedure(**{"population": 100, "batch_size": 50, "epochs": 2, "epsilon": 1, "delta": 1e-3, **change})
    assert words in str(caught.value)
