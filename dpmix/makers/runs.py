"""Makers of plans, of everything that is trained, of zero-shot accuracies and of Fréchet distances."""

from collections.abc import Sequence

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.artefacts.measurements import Distance, ZeroShot
from dpmix.artefacts.plan_file import PlanFile
from dpmix.files import write_json
from dpmix.makers.registry import Context, maker
from dpmix.progress import progress


@maker(PlanFile)
def make_plans(plans: Sequence[PlanFile], context: Context) -> None:
    """Calibrate each plan's noise to its target ε.

    Raises:
        PrivacyError: for a target that its accountant cannot certify.
    """
    for plan in progress(plans, "calibrating", "plan"):
        write_json(plan.path(context.scale), plan.calibrated().to_json())


@maker(Experiment, Selection, GradientRecord, collective=True)
def train(wanted: Sequence[Artefact], context: Context) -> None:
    """Train runs, learning-rate selections and gradient records; those with the same views are trained together."""
    from dpmix.training.runner import make

    make(wanted, context.scale, context.execution)


@maker(ZeroShot)
def classify_zero_shot(wanted: Sequence[ZeroShot], context: Context) -> None:
    """Measure zero-shot accuracy: test images are classified by comparing them with the names of the classes."""
    from dpmix.evaluation.zero_shot import measure

    measure(wanted, context.scale, context.execution)


@maker(Distance)
def measure_distances(wanted: Sequence[Distance], context: Context) -> None:
    """Measure each Fréchet distance."""
    from dpmix.evaluation.distances import measure

    measure(wanted, context.scale, context.execution)
