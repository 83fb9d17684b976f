"""The accountants themselves, by Opacus and dp-accounting: ε of a history of steps, as far as each can evaluate it.

`dpmix.privacy.accounting` is what callers use; here is what a search for the noise, or another mechanism, builds on.
"""

import contextlib
import functools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from dpmix.errors import PrivacyError

if TYPE_CHECKING:
    from dpmix.privacy.accounting import Steps

MAX_EPSILON = 100.0
"""Beyond it the accountants lose their guarantees (PRV) or do not finish (PLD), and the claim means nothing anyway."""

PRV_ERROR = 0.01
"""How far the PRV accountant's ε may be off: its upper end is what is given."""

# Opacus stops at order 63, which cannot certify less than ε = 0.103 at δ = 1e-5; more orders only tighten the bound.
_LARGE_ORDERS = (64, 72, 80, 96, 112, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1000)


@functools.lru_cache(maxsize=4096)
def evaluated(accountant: str, history: tuple["Steps", ...], delta: float) -> float:
    """ε at `delta` of steps with noise, by one accountant; `accounting.composed_epsilon` checks its arguments first.

    Raises:
        PrivacyError: for what this accountant cannot evaluate.

    >>> round(evaluated("rdp", ((1.0, 0.01, 1000),), 1e-5), 2)
    2.1
    """
    if accountant != "rdp":
        _check_size(accountant, rough_epsilon(history, delta))
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


def rough_epsilon(history: tuple["Steps", ...], delta: float) -> float:
    """A valid but loose ε from Rényi bounds by dp-accounting, which imports in a moment where Opacus takes seconds.

    >>> round(rough_epsilon(((1.0, 0.01, 1000),), 1e-5), 1)
    2.1
    """
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.rdp import RdpAccountant

    with quiet():
        # Whole orders only: their moments are finite sums, where fractional ones are series that may not converge.
        accountant = RdpAccountant(orders=(2, 3, 4, 5, 6, 8, 11, 16, 23, 32, 45, 64, 90, 128, 181, 256, 362, 512))
        for sigma, rate, steps in history:
            accountant.compose(PoissonSampledDpEvent(rate, GaussianDpEvent(sigma)), steps)
        return float(accountant.get_epsilon(delta))


def _rdp(history: tuple["Steps", ...], delta: float) -> float:
    return rdp_over(history, delta, rdp_orders())[0]


def rdp_orders() -> list[float]:
    """The Rényi orders that are tried.

    >>> max(rdp_orders())
    1000
    """
    with quiet():
        from opacus.accountants import RDPAccountant

        return [*RDPAccountant.DEFAULT_ALPHAS, *_LARGE_ORDERS]


def rdp_over(history: tuple["Steps", ...], delta: float, orders: list[float]) -> tuple[float, float]:
    """ε by the best of these Rényi orders, and that order.

    >>> rdp_over(((1.0, 0.01, 1000),), 1e-5, [2, 8, 64])[1]
    8.0
    """
    with quiet():
        from opacus.accountants import RDPAccountant

        accountant = RDPAccountant()
        accountant.history = list(history)
        epsilon, order = accountant.get_privacy_spent(delta=delta, alphas=orders)
        return float(epsilon), float(order)


def _prv(history: tuple["Steps", ...], delta: float) -> float:
    with quiet():
        from opacus.accountants import PRVAccountant

        accountant = PRVAccountant()
        accountant.history = list(history)
        return float(accountant.get_epsilon(delta, eps_error=PRV_ERROR))


def _pld(history: tuple["Steps", ...], delta: float) -> float:
    whole = loss_distribution(history, pld_interval(history, delta))
    with quiet():
        return float(whole.get_epsilon_for_delta(delta))


def loss_distribution(history: "Iterable[Steps]", interval: float) -> Any:
    """The distribution of the privacy loss of a history, discretised pessimistically: its ε and δ are upper bounds.

    Args:
        history: steps, each with noise.
        interval: to whose multiples losses are rounded.

    Returns:
        A `PrivacyLossDistribution` of dp-accounting, which gives δ for ε and ε for δ.

    >>> round(loss_distribution([(1.0, 0.01, 1000)], 1e-3).get_epsilon_for_delta(1e-5), 2)
    1.83
    """
    from dp_accounting.pld import privacy_loss_distribution

    with quiet():
        whole = privacy_loss_distribution.identity(value_discretization_interval=interval)
        for sigma, rate, steps in history:
            # Its default adjacency is add/remove: it keeps one distribution per direction and reports the larger ε.
            step = privacy_loss_distribution.from_gaussian_mechanism(
                sigma, sampling_prob=rate, value_discretization_interval=interval, pessimistic_estimate=True
            )
            whole = whole.compose(step.self_compose(steps))
    return whole


def pld_interval(history: tuple["Steps", ...], delta: float) -> float:
    """How finely to discretise privacy losses: rounding up then costs less than 1e-4 of ε (measured).

    >>> pld_interval(((1.0, 0.01, 1000),), 1e-5) < 1e-3
    True
    """
    rough = rough_epsilon(history, delta)
    _check_size("pld", rough)
    # The second bound keeps the interval well inside one step's own loss when there are very many steps.
    return max(rough, 1e-3) * min(1e-4, 0.1 / math.sqrt(sum(steps for *_, steps in history)))


_BACKENDS: dict[str, Callable[[tuple["Steps", ...], float], float]] = {"rdp": _rdp, "prv": _prv, "pld": _pld}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what the accountants say on the way and a caller can do nothing about.

    Opacus warns at import about its secure mode and hooks, and about the largest Rényi order, which we extend; both
    libraries overflow to infinity, correctly, in orders that lose the minimum anyway.

    >>> with quiet():
    ...     warnings.warn("not shown")
    """
    import numpy as np

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _describe(history: tuple["Steps", ...]) -> str:
    return ", ".join(f"noise multiplier {s:g}, sampling rate {q:g}, {t} steps" for s, q, t in history[:3])
