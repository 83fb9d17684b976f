"""ε of the Poisson-subsampled Gaussian mechanism under three accountants, and the noise that meets a target.

- `rdp`: Rényi differential privacy (Mironov et al., arXiv:1908.10530), by Opacus. What the paper used.
- `prv`: privacy random variables (Gopi et al., NeurIPS 2021), by Opacus; the upper end of its error bars.
- `pld`: privacy loss distributions (Doroshenko et al., PoPETs 2022), by dp-accounting, rounded pessimistically. The
  tightest, and the one to calibrate with; the other two verify it.

Adjacency is add/remove of one sampled unit, whose clipped gradient has norm at most 1 in units of the sensitivity; ε
covers both directions. A step takes each unit with probability q = `sampling_rate` and adds noise of standard deviation
`noise_multiplier` × sensitivity; all steps' outputs are released.
"""

import contextlib
import math
from collections.abc import Iterable
from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

from dpmix.errors import ParamsError, PrivacyError, suggestion
from dpmix.privacy.accountants import evaluated, pld_interval, quiet

ACCOUNTANTS = ("rdp", "prv", "pld")


class Steps(NamedTuple):
    """Equal steps of the Poisson-subsampled Gaussian mechanism; a run's history is a list of these.

    Attributes:
        noise_multiplier: σ, the noise's standard deviation in units of the sensitivity.
        sampling_rate: q, the probability with which each unit takes part in a step.
        steps: how many steps.

    >>> Steps(noise_multiplier=1.0, sampling_rate=0.01, steps=1000)
    Steps(noise_multiplier=1.0, sampling_rate=0.01, steps=1000)
    """

    noise_multiplier: float
    sampling_rate: float
    steps: int


def epsilon(accountant: str, *, noise_multiplier: float, sampling_rate: float, steps: int, delta: float) -> float:
    """ε at `delta` after `steps` equal steps: 0 for no steps, infinite without noise.

    Args:
        accountant: `rdp`, `prv` or `pld`.
        noise_multiplier: σ, the noise's standard deviation in units of the sensitivity.
        sampling_rate: q, the probability with which each unit takes part in a step.
        steps: T.
        delta: δ of the guarantee.

    Raises:
        ParamsError: a rate outside [0, 1], σ or T below 0, or an unknown accountant.
        PrivacyError: δ outside (0, 1), or an ε that this accountant cannot evaluate.

    >>> round(epsilon("pld", noise_multiplier=1.0, sampling_rate=0.01, steps=1000, delta=1e-5), 2)
    1.83
    """
    return composed_epsilon(accountant, [Steps(noise_multiplier, sampling_rate, steps)], delta=delta)


def epsilons(*, noise_multiplier: float, sampling_rate: float, steps: int, delta: float) -> dict[str, float]:
    """ε by name of the accountant, without those that cannot evaluate this mechanism; arguments as of `epsilon`.

    >>> spent = epsilons(noise_multiplier=1.0, sampling_rate=0.01, steps=1000, delta=1e-5)
    >>> {accountant: round(value, 2) for accountant, value in spent.items()}
    {'rdp': 2.1, 'prv': 1.84, 'pld': 1.83}
    """
    return composed_epsilons([Steps(noise_multiplier, sampling_rate, steps)], delta=delta)


def composed_epsilon(accountant: str, history: Iterable[Steps], *, delta: float) -> float:
    """ε at `delta` of a history whose steps differ in noise or sampling rate; the rest as of `epsilon`.

    >>> history = [Steps(1.0, 0.1, 10), Steps(2.0, 0.1, 10)]
    >>> round(composed_epsilon("pld", history, delta=1e-5), 2)
    2.93
    """
    check_accountant(accountant)
    check_delta(delta)
    merged: dict[tuple[float, float], int] = {}
    for sigma, rate, steps in history:
        check_mechanism(rate, steps)
        if not 0 <= sigma < math.inf:
            raise ParamsError(f"noise multiplier {sigma} is not a finite number >= 0; give one, such as 1")
        if steps and rate:
            merged[float(sigma), float(rate)] = merged.get((float(sigma), float(rate)), 0) + int(steps)
    if not merged:
        return 0.0
    if any(sigma == 0 for sigma, _ in merged):
        return math.inf
    return evaluated(accountant, tuple(Steps(sigma, rate, steps) for (sigma, rate), steps in merged.items()), delta)


def composed_epsilons(history: Iterable[Steps], *, delta: float) -> dict[str, float]:
    """ε of a history by name of the accountant, without those that cannot evaluate it; see `composed_epsilon`.

    >>> spent = composed_epsilons([Steps(1.0, 0.1, 10), Steps(2.0, 0.1, 10)], delta=1e-5)
    >>> {accountant: round(value, 2) for accountant, value in spent.items()}
    {'rdp': 3.51, 'prv': 2.94, 'pld': 2.93}
    """
    check_delta(delta)
    kept = list(history)
    spent = {}
    for accountant in ACCOUNTANTS:
        with contextlib.suppress(PrivacyError):
            spent[accountant] = composed_epsilon(accountant, kept, delta=delta)
    return spent


def rounded_up(value: float, digits: int) -> str:
    """ε as text with `digits` digits after the point, rounded up, so that no less is stated than was spent.

    Infinity is `∞`. Every ε that was or would be spent is printed by this function. In decimal, where no product of
    floats can fall below an integer.

    >>> rounded_up(1.2301, 2)
    '1.24'
    """
    if not math.isfinite(value):
        return "∞"
    return str(Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_CEILING))


def replacement_epsilon(*, noise_multiplier: float, sampling_rate: float, steps: int, delta: float) -> float:
    """ε by privacy loss distributions of microbatch training, where a record changes its unit's gradient.

    Removing one record of a microbatch does not remove the microbatch: its clipped gradient is replaced by another. The
    worst case is (1 - q) N(0, s²) + q N(C, s²) against (1 - q) N(0, s²) + q N(-C, s²); `dpmix.privacy.plan` proves it.
    This is its exact ε, where accounting add/remove at sensitivity 2C gives an upper bound.

    Args:
        noise_multiplier: s in units of the sensitivity 2C, above 0.
        sampling_rate: q of each microbatch.
        steps: T.
        delta: δ of the guarantee.

    Raises:
        ParamsError, PrivacyError: as `epsilon` does; also for no noise.

    >>> exact = replacement_epsilon(noise_multiplier=1.0, sampling_rate=0.01, steps=1000, delta=1e-5)
    >>> exact <= epsilon("pld", noise_multiplier=1.0, sampling_rate=0.01, steps=1000, delta=1e-5)
    True
    """
    from dp_accounting import NeighboringRelation
    from dp_accounting.pld import privacy_loss_distribution

    check_delta(delta)
    check_mechanism(sampling_rate, steps)
    if not 0 < noise_multiplier < math.inf:
        raise ParamsError(f"noise multiplier {noise_multiplier} is not a finite number above 0; give one, such as 1")
    if not (steps and sampling_rate):
        return 0.0
    interval = pld_interval((Steps(noise_multiplier, sampling_rate, steps),), delta)
    with quiet():
        step = privacy_loss_distribution.from_gaussian_mechanism(
            2 * noise_multiplier,
            sensitivity=1,
            sampling_prob=sampling_rate,
            value_discretization_interval=interval,
            pessimistic_estimate=True,
            neighboring_relation=NeighboringRelation.REPLACE_ONE,
        )
        return float(step.self_compose(steps).get_epsilon_for_delta(delta))


def check_accountant(accountant: str) -> None:
    """Refuse, by a `ParamsError`, what is no accountant's name.

    >>> check_accountant("pdl")
    Traceback (most recent call last):
    dpmix.errors.ParamsError: unknown accountant 'pdl'; did you mean 'pld'?
    """
    if accountant not in ACCOUNTANTS:
        raise ParamsError(f"unknown accountant {accountant!r}; {suggestion(accountant, ACCOUNTANTS)}")


def check_delta(delta: float) -> None:
    """Refuse, by a `PrivacyError`, a δ that is no probability.

    >>> check_delta(2)
    Traceback (most recent call last):
    dpmix.errors.PrivacyError: delta 2 is not between 0 and 1; choose one well below 1 / N, such as 1e-5
    """
    if not 0 < delta < 1:
        raise PrivacyError(f"delta {delta} is not between 0 and 1; choose one well below 1 / N, such as 1e-5")


def check_mechanism(sampling_rate: float, steps: int) -> None:
    """Refuse, by a `ParamsError`, a sampling rate that is no probability, or what is no number of steps.

    >>> check_mechanism(1.5, 10)
    Traceback (most recent call last):
    dpmix.errors.ParamsError: sampling rate 1.5 is not between 0 and 1; the batch must not exceed the data
    """
    if not 0 <= sampling_rate <= 1:
        raise ParamsError(f"sampling rate {sampling_rate} is not between 0 and 1; the batch must not exceed the data")
    if steps < 0 or steps != int(steps):
        raise ParamsError(f"{steps} is not a number of steps; it must be a whole number >= 0")
