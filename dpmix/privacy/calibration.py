"""The least noise that meets a target (ε, δ), by search over what an accountant says."""

import math
from collections.abc import Callable

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.accountants import MAX_EPSILON, PRV_ERROR, evaluated, rdp_orders, rdp_over, rough_epsilon
from dpmix.privacy.accounting import Steps, check_accountant, check_delta, check_mechanism

_TOLERANCE = 1e-3


def noise_multiplier(accountant: str, *, epsilon: float, delta: float, sampling_rate: float, steps: int) -> float:
    """The smallest noise multiplier whose ε after exactly `steps` steps is at most `epsilon`.

    It is at most 0.1 % above the true minimum, and always on the safe side: ε of the returned value, by the same
    accountant, does not exceed the target.

    Args:
        accountant: `rdp`, `prv` or `pld`.
        epsilon: the target, in (0, 100].
        delta: δ of the guarantee.
        sampling_rate: q, the probability with which each unit takes part in a step.
        steps: T, at least 1.

    Raises:
        ParamsError: a malformed sampling rate or number of steps, or an unknown accountant.
        PrivacyError: ε outside (0, 100], δ outside (0, 1), or a target that this accountant cannot certify.

    >>> round(noise_multiplier("pld", epsilon=4, delta=1e-5, sampling_rate=0.1, steps=10), 2)
    0.85
    """
    check_accountant(accountant)
    check_delta(delta)
    check_mechanism(sampling_rate, steps)
    if not epsilon > 0:
        raise PrivacyError(f"epsilon {epsilon} is not above 0 and cannot be met; ask for more, such as epsilon 1")
    if epsilon > MAX_EPSILON:
        raise PrivacyError(
            f"epsilon {epsilon} is above {MAX_EPSILON:g}, where the accountants cannot be trusted; ask for less, or "
            "train without privacy at epsilon inf"
        )
    if accountant == "prv" and epsilon <= PRV_ERROR:
        raise PrivacyError(
            f"epsilon {epsilon} is not above {PRV_ERROR}, the error that the prv accountant adds; use pld"
        )
    if not (steps and sampling_rate):
        raise ParamsError("no steps, or a sampling rate of 0: nothing to calibrate; train for at least one step")
    sampled = -math.expm1(steps * math.log1p(-sampling_rate)) if sampling_rate < 1 else 1.0
    if delta >= sampled:
        raise PrivacyError(
            f"delta {delta:g} is no less than the chance {sampled:.3g} of ever being sampled, so it would allow any "
            "leak; choose a much smaller delta, well below 1 / N"
        )

    def spent(sigma: float) -> float:
        return evaluated(accountant, (Steps(sigma, float(sampling_rate), int(steps)),), delta)

    start = _rough_noise(epsilon, delta, sampling_rate, steps)
    if accountant == "rdp":
        nearby = _NearbyOrders(delta)
        return _smallest(lambda sigma: nearby((Steps(sigma, float(sampling_rate), int(steps)),)), epsilon, start)
    return _smallest(spent, epsilon, start)


def _smallest(spent: Callable[[float], float], target: float, start: float) -> float:
    """The smallest σ with spent(σ) <= target, rounded up by at most `_TOLERANCE`; `spent` decreases in σ.

    Starting near `start`, the search brackets the answer from above: little noise, where accountants fail, is tried no
    further than one factor below the answer. An accountant call costs up to a second, so the bracket shrinks by
    interpolation: log ε is nearly linear in log σ.
    """
    high = start
    while (above := spent(high)) > target:
        high *= 1.2
        if high > 100 * start:
            raise PrivacyError(f"no noise reaches epsilon {target:g} under this accountant; ask for more")
    factor = 1.1
    low = high / factor
    while (below := spent(low)) <= target:
        factor **= 1.5
        low, high, above = low / factor, low, below
        if low < start / 10:
            raise PrivacyError(f"epsilon {target:g} needs next to no noise at this delta; choose a much smaller delta")
    for turn in range(200):
        if high <= low * (1 + _TOLERANCE):
            break
        if turn < 8 and above > 0:
            share = math.log(below / target) / math.log(below / above)
            # Aim just past the root, alternately on either side, so that both ends of the bracket close in.
            guess = low * (high / low) ** share * (1 + (_TOLERANCE / 3 if turn % 2 == 0 else -_TOLERANCE / 3))
            middle = min(max(guess, low * (1 + _TOLERANCE / 10)), high / (1 + _TOLERANCE / 10))
        else:
            middle = math.sqrt(low * high)
        if (value := spent(middle)) <= target:
            high, above = middle, value
        else:
            low, below = middle, value
    return high


def _rough_noise(target: float, delta: float, sampling_rate: float, steps: int) -> float:
    """A noise multiplier near the answer (within some 10 %), from Rényi bounds: cheap at any size."""

    def spent(sigma: float) -> float:
        return rough_epsilon((Steps(sigma, sampling_rate, steps),), delta)

    low, high = 0.1, 0.2
    while spent(high) > target:
        low, high = high, high * 2
        if high > 1e9:
            raise PrivacyError(
                f"epsilon {target} at delta {delta} cannot be met in {steps} steps at sampling rate {sampling_rate:g}; "
                "ask for a larger epsilon or delta, or fewer steps"
            )
    while high > low * 1.05:
        middle = math.sqrt(low * high)
        if spent(middle) <= target:
            high = middle
        else:
            low = middle
    return high


class _NearbyOrders:
    """ε under RDP for a search over σ: after the first call, only the fractional orders near the best one are tried.

    A fractional order takes milliseconds, ninety-nine of them a third of a second; whole orders are cheap and are all
    tried. Fewer orders give no smaller ε, so what meets a target here meets it with all of them.
    """

    def __init__(self, delta: float, reach: int = 5) -> None:
        self._delta, self._reach = delta, reach
        self._orders = rdp_orders()
        self._nearby = self._orders

    def __call__(self, history: tuple[Steps, ...]) -> float:
        epsilon, best = rdp_over(history, self._delta, self._nearby)
        fractional = [order for order in self._nearby if order != int(order)]
        if self._nearby is not self._orders and best in fractional[:1] + fractional[-1:]:
            # The best may lie beyond the window.
            epsilon, best = rdp_over(history, self._delta, self._orders)
        at = self._orders.index(best)
        self._nearby = [
            order for index, order in enumerate(self._orders) if order == int(order) or abs(index - at) <= self._reach
        ]
        return max(epsilon, 0.0)
