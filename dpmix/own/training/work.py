"""How much a run has to compute, from public numbers: views that pass the encoder, and what is kept of them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpmix.execution import IN_MEMORY, KEPT_BYTES
from dpmix.own.choices.setup import Setup
from dpmix.views.sets import sets_encoded

if TYPE_CHECKING:
    from dpmix.privacy.plan import Plan


@dataclass(frozen=True)
class Work:
    """What one run computes.

    Attributes:
        encoded: views that pass the encoder, in expectation, without the test images.
        trained: units whose gradients are clipped, in expectation.
        kept: bytes that features of views take while it trains; 0 where each step encodes its own.
    """

    encoded: float
    trained: float
    kept: float


def work_words(encoded: float, kept: float) -> str:
    """The views of a run in words.

    >>> work_words(8_000, 41e6)
    '8,000 views are encoded, once for all steps; their features take 41 MB of memory meanwhile'
    """
    if not kept:
        return f"{encoded:,.0f} views are encoded, in each step those that it shows"
    where = "memory" if kept <= IN_MEMORY else "disk"
    size = f"{kept / 1e6:,.0f} MB" if kept < 1e9 else f"{kept / 1e9:,.1f} GB"
    once = "once for all steps" if kept < KEPT_BYTES else "once for all steps as far as there is room"
    return f"{encoded:,.0f} views are encoded, {once}; their features take {size} of {where} meanwhile"


def work_of(made: Setup, plan: "Plan", dimension: int, most: float = KEPT_BYTES) -> Work:
    """What a run computes.

    Args:
        made: the run.
        plan: its plan.
        dimension: d, the encoder's features.
        most: bytes that features may take.
    """
    from dpmix.training.kept_views import bytes_of_set

    units, trained = plan.population, plan.steps * plan.expected_units
    view_sets = int(made.settings.get("view_sets", 0))
    once = sets_encoded(plan.sampling_rate, plan.steps, view_sets, not made.request.research)
    if once is None:
        return Work(trained * made.views, trained, 0.0)
    sets = units * once
    wanted = sets * bytes_of_set(made.views, made.views, dimension + 1, made.dataset.classes)
    share = min(1.0, most / wanted)
    encoded = share * sets * made.views + (1 - share) * trained * made.views
    return Work(encoded, trained, min(wanted, most))
