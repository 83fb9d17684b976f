"""ε of somebody who has several records, in a run that protects single ones.

All m records of a person come and go together. A step takes each with probability q, so their number in it is
binomial, and each moves the sum by at most C. The worst case is that all move it the same way: a mixture of Gaussians
whose centres are 0, 1, …, m in units of C (Choquette-Choo et al., ICLR 2024), composed over the steps by privacy loss
distributions. That is more than m ε at the same δ.
"""

import math
from collections.abc import Sequence

from dpmix.errors import ParamsError
from dpmix.privacy.accountants import MAX_EPSILON
from dpmix.privacy.accounting import Steps, composed_epsilon


def group_epsilon(history: Sequence[Steps], records: int, *, delta: float) -> float:
    """ε at `delta` for adding or removing all of a person's records together.

    Args:
        history: Poisson-subsampled Gaussian steps, whose unit is one record.
        records: m, how many of the training records are theirs.
        delta: δ of the guarantee.

    Returns:
        ε, rounded up; infinite beyond `MAX_EPSILON`, where it promises nothing.

    Raises:
        ParamsError: m below 1, or steps that are none, as `composed_epsilon` says.
        PrivacyError: δ outside (0, 1).

    >>> steps = [Steps(noise_multiplier=1.0, sampling_rate=0.01, steps=1000)]
    >>> [round(group_epsilon(steps, m, delta=1e-5), 1) for m in (1, 2, 5)]
    [1.8, 4.0, 11.7]
    """
    from scipy.stats import binom

    if isinstance(records, bool) or records != int(records) or records < 1:
        raise ParamsError(f"{records} is not a number of records; give one such as 2")
    alone = composed_epsilon("rdp", history, delta=delta)
    if records == 1:
        return composed_epsilon("pld", history, delta=delta) if alone <= MAX_EPSILON else math.inf
    kept = [row for row in history if row.steps and row.sampling_rate]
    # m records reveal at least m times as much, but for what δ covers; the accountant would need hours for these.
    if not kept or alone * records > 2 * MAX_EPSILON:
        return math.inf if kept else 0.0
    from dp_accounting.pld import privacy_loss_distribution

    # Rounding losses up then costs less than one per cent of ε (measured); a finer one takes long for many records.
    interval = max(alone * records, 1e-2) * min(2e-3, 1 / math.sqrt(sum(row.steps for row in kept)) / 20)
    whole = privacy_loss_distribution.identity(value_discretization_interval=interval)
    for sigma, rate, steps in kept:
        shares = [(float(count), float(binom.pmf(count, records, rate))) for count in range(records + 1)]
        there = [(count, share) for count, share in shares if share > 0]
        try:
            step = privacy_loss_distribution.from_mixture_gaussian_mechanism(
                sigma,
                [count for count, _ in there],
                [share for _, share in there],
                value_discretization_interval=interval,
            )
        except (ArithmeticError, TypeError, ValueError):
            # Near a rate of 1 the library loses the tails to rounding. All records in every step bound any mixture, as
            # divergences of a mixture are at most the mean of those of its parts.
            step = privacy_loss_distribution.from_gaussian_mechanism(
                sigma, sensitivity=records, value_discretization_interval=interval, pessimistic_estimate=True
            )
        whole = whole.compose(step.self_compose(steps))
    spent = float(whole.get_epsilon_for_delta(delta))
    return spent if spent <= MAX_EPSILON else math.inf
