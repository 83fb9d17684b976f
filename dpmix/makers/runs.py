"""Makers of plans, of the paper's ε, of everything that is trained, of zero-shot accuracies and of distances."""

from collections.abc import Sequence

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.artefacts.measurements import Distance, ZeroShot
from dpmix.artefacts.plan_file import PlanFile
from dpmix.artefacts.published_privacy import PublishedPrivacy
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


@maker(PublishedPrivacy)
def account_published(wanted: Sequence[PublishedPrivacy], context: Context) -> None:
    """Compute ε of each run of the paper, as its programs calibrate and execute it.

    Raises:
        PrivacyError: for a run whose ε an accountant cannot evaluate.
    """
    for published in progress(wanted, "accounting", "run"):
        procedure = published.procedure()
        sigma = procedure.noise_multiplier()
        record = {
            "noise_multiplier": sigma,
            "sampling_rate": procedure.sampling_rate,
            "steps": {"calibrated": procedure.steps, "taken": procedure.steps_taken},
            "divisor": procedure.divisor,
            "epsilon": procedure.epsilons(sigma),
        }
        write_json(published.path(context.scale), record)


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
