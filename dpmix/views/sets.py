"""Sets of views: an example's views are one of R sets, or drawn anew in each step.

Algorithm 1 draws new views in each step, so that a frozen encoder has to pass all of them. With R sets (`view_sets: R`)
step t shows of example i the set r that is uniform by (seed, t, i), and the views of a set are those of (seed, r, i):
they come again, and what an encoder makes of them can be kept. Which views an example has still depends on public
numbers, on the example itself and on D alone, so the sum of a step moves by at most C when one example is added or
removed, as before.
"""

import numpy as np
import numpy.typing as npt

from dpmix.random import KeyedRandom

_MOST = 0.9


def sets_shown(seed: int, step: int, units: npt.NDArray[np.int64], view_sets: int) -> npt.NDArray[np.int64]:
    """Which set of views each example shows at a step, int64 [n], uniform in [0, R).

    Args:
        seed: of the views.
        step: the step, from 0.
        units: int64 [n], the examples, or persons.
        view_sets: R.
    """
    return KeyedRandom(seed, step, units).integers("view set", view_sets)


def view_random(seed: int, step: int, units: npt.NDArray[np.int64], view_sets: int) -> KeyedRandom:
    """The draws that make the views of some examples at a step.

    Args:
        seed: of the views.
        step: the step, from 0.
        units: int64 [n], the examples, or persons.
        view_sets: R; 0 for views that are drawn anew in each step.

    With one set, all steps show the same views:

    >>> first, later = (view_random(0, step, np.array([3]), 1).uniform("crop") for step in (0, 7))
    >>> bool(first == later)
    True
    """
    return KeyedRandom(seed, sets_shown(seed, step, units, view_sets) if view_sets else step, units)


def share_shown(rate: float, steps: int, view_sets: int) -> float:
    """The share of all sets of all examples that a run shows, in expectation.

    Args:
        rate: q, the probability of an example in a step.
        steps: T.
        view_sets: R.

    >>> round(share_shown(0.25, 8, 2), 4)
    0.6564
    """
    return 1 - (1 - rate / view_sets) ** steps


def encoded_ahead(rate: float, steps: int, view_sets: int) -> bool:
    """Whether heads' views of all sets are encoded before the first step: if nine in ten will be shown.

    Arguments are those of `share_shown`.
    """
    return share_shown(rate, steps, view_sets) >= _MOST


def sets_encoded(rate: float, steps: int, view_sets: int, release: bool) -> float | None:
    """The sets of each example that a run of heads encodes once and keeps, in expectation; None if it keeps none.

    Args:
        rate: q, the probability of an example in a step.
        steps: T.
        view_sets: R; with 0, views are drawn anew in each step.
        release: whether the run is for release, which keeps only what is encoded before its first step.
    """
    if not view_sets or (release and not encoded_ahead(rate, steps, view_sets)):
        return None
    return view_sets * share_encoded(rate, steps, view_sets)


def share_encoded(rate: float, steps: int, view_sets: int) -> float:
    """The share of all sets of all examples that a run of heads encodes, in expectation.

    Arguments are those of `share_shown`.
    """
    return 1.0 if encoded_ahead(rate, steps, view_sets) else share_shown(rate, steps, view_sets)
