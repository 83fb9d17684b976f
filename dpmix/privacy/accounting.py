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
import functools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from decimal import ROUND_CEILING, Decimal
from typing import Any, NamedTuple

from dpmix.errors import ParamsError, PrivacyError, suggestion

ACCOUNTANTS = ("rdp", "prv", "pld")

MAX_EPSILON = 100.0

"""Beyond it the accountants lose their guarantees (PRV) or do not finish (PLD), and the claim means nothing anyway."""

_PRV_ERROR = 0.01

# Opacus stops at order 63, which cannot certify less than ε = 0.103 at δ = 1e-5; more orders only tighten the bound.
_LARGE_ORDERS = (64, 72, 80, 96, 112, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1000)


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
    _check_accountant(accountant)
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
    return _epsilon(accountant, tuple(Steps(sigma, rate, steps) for (sigma, rate), steps in merged.items()), delta)


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
    with _quiet():
        step = privacy_loss_distribution.from_gaussian_mechanism(
            2 * noise_multiplier,
            sensitivity=1,
            sampling_prob=sampling_rate,
            value_discretization_interval=interval,
            pessimistic_estimate=True,
            neighboring_relation=NeighboringRelation.REPLACE_ONE,
        )
        return float(step.self_compose(steps).get_epsilon_for_delta(delta))


@functools.lru_cache(maxsize=4096)
def _epsilon(accountant: str, history: tuple[Steps, ...], delta: float) -> float:
    if accountant != "rdp":
        _check_size(accountant, _rough_epsilon(history, delta))
    try:
        spent = _BACKENDS[accountant](history, delta)
    except (ArithmeticError, RuntimeError, ValueError, MemoryError) as error:
        others = " or ".join(name for name in ("pld", "rdp") if name != accountant)
        raise PrivacyError(
            f"the {accountant} accountant failed at {_describe(history)} and delta {delta:g} ({error}); use {others}"
        ) from error
    if math.isnan(spent):
        raise PrivacyError(f"the {accountant} accountant gave no number at {_describe(history)}; use another one")
    return max(float(spent), 0.0)


def _check_size(accountant: str, rough: float) -> None:
    if not rough <= 10 * MAX_EPSILON:
        raise PrivacyError(
            f"the {accountant} accountant cannot evaluate an epsilon near {rough:.3g}; add noise, take fewer steps, or "
            "use the rdp accountant"
        )


def _rough_epsilon(history: tuple[Steps, ...], delta: float) -> float:
    """A valid but loose ε from Rényi bounds by dp-accounting, which imports in a moment where Opacus takes seconds."""
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.rdp import RdpAccountant

    with _quiet():
        # Whole orders only: their moments are finite sums, where fractional ones are series that may not converge.
        accountant = RdpAccountant(orders=(2, 3, 4, 5, 6, 8, 11, 16, 23, 32, 45, 64, 90, 128, 181, 256, 362, 512))
        for sigma, rate, steps in history:
            accountant.compose(PoissonSampledDpEvent(rate, GaussianDpEvent(sigma)), steps)
        return float(accountant.get_epsilon(delta))


def _rdp(history: tuple[Steps, ...], delta: float) -> float:
    return _rdp_over(history, delta, _rdp_orders())[0]


def _rdp_orders() -> list[float]:
    with _quiet():
        from opacus.accountants import RDPAccountant

        return [*RDPAccountant.DEFAULT_ALPHAS, *_LARGE_ORDERS]


def _rdp_over(history: tuple[Steps, ...], delta: float, orders: list[float]) -> tuple[float, float]:
    """ε by the best of these Rényi orders, and that order."""
    with _quiet():
        from opacus.accountants import RDPAccountant

        accountant = RDPAccountant()
        accountant.history = list(history)
        epsilon, order = accountant.get_privacy_spent(delta=delta, alphas=orders)
        return float(epsilon), float(order)


def _prv(history: tuple[Steps, ...], delta: float) -> float:
    with _quiet():
        from opacus.accountants import PRVAccountant

        accountant = PRVAccountant()
        accountant.history = list(history)
        return float(accountant.get_epsilon(delta, eps_error=_PRV_ERROR))


def _pld(history: tuple[Steps, ...], delta: float) -> float:
    whole = loss_distribution(history, pld_interval(history, delta))
    with _quiet():
        return float(whole.get_epsilon_for_delta(delta))


def loss_distribution(history: Iterable[Steps], interval: float) -> Any:
    """The distribution of the privacy loss of a history, discretised pessimistically: its ε and δ are upper bounds.

    Args:
        history: steps, each with noise.
        interval: to whose multiples losses are rounded.

    Returns:
        A `PrivacyLossDistribution` of dp-accounting, which gives δ for ε and ε for δ.

    >>> round(loss_distribution([Steps(1.0, 0.01, 1000)], 1e-3).get_epsilon_for_delta(1e-5), 2)
    1.83
    """
    from dp_accounting.pld import privacy_loss_distribution

    with _quiet():
        whole = privacy_loss_distribution.identity(value_discretization_interval=interval)
        for sigma, rate, steps in history:
            # Its default adjacency is add/remove: it keeps one distribution per direction and reports the larger ε.
            step = privacy_loss_distribution.from_gaussian_mechanism(
                sigma, sampling_prob=rate, value_discretization_interval=interval, pessimistic_estimate=True
            )
            whole = whole.compose(step.self_compose(steps))
    return whole


def pld_interval(history: tuple[Steps, ...], delta: float) -> float:
    """How finely to discretise privacy losses: rounding up then costs less than 1e-4 of ε (measured).

    >>> pld_interval((Steps(1.0, 0.01, 1000),), 1e-5) < 1e-3
    True
    """
    rough = _rough_epsilon(history, delta)
    _check_size("pld", rough)
    # The second bound keeps the interval well inside one step's own loss when there are very many steps.
    return max(rough, 1e-3) * min(1e-4, 0.1 / math.sqrt(sum(steps for *_, steps in history)))


_BACKENDS: dict[str, Callable[[tuple[Steps, ...], float], float]] = {"rdp": _rdp, "prv": _prv, "pld": _pld}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the accountants say on the way and a caller can do nothing about.

    Opacus warns at import about its secure mode and hooks, and about the largest Rényi order, which we extend; both
    libraries overflow to infinity, correctly, in orders that lose the minimum anyway.
    """
    import numpy as np

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _describe(history: tuple[Steps, ...]) -> str:
    return ", ".join(f"noise multiplier {s:g}, sampling rate {q:g}, {t} steps" for s, q, t in history[:3])


def _check_accountant(accountant: str) -> None:
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
