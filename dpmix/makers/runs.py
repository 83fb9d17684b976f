"""Makers of plans, of the paper's ε, of what is trained, and of what is measured: accuracies, distances, attacks."""

from collections.abc import Sequence

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.artefacts.measurements import CanaryAttack, Distance, ZeroShot
from dpmix.artefacts.plan_file import PlanFile
from dpmix.artefacts.published_privacy import PublishedPrivacy
from dpmix.makers.registry import Context, check_files, maker
from dpmix.progress import progress
from dpmix.seals import write_record


@maker(PlanFile)
def make_plans(plans: Sequence[PlanFile], context: Context) -> None:
    """Calibrate each plan's noise to its target ε.

    Raises:
        PrivacyError: for a target that its accountant cannot certify.
    """
    for plan in progress(plans, "calibrating", "plan"):
        write_record(plan.path(context.scale), plan.calibrated().to_json())


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
        write_record(published.path(context.scale), record)


def _check_trained(artefact: Artefact, context: Context) -> None:
    if not isinstance(artefact, GradientRecord):
        check_files(artefact, context)
        return
    from dpmix.training.outcome import read_magnitudes

    read_magnitudes(artefact.path(context.scale))


@maker(Experiment, Selection, GradientRecord, collective=True, check=_check_trained)
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


@maker(CanaryAttack)
def attack_model_mix(wanted: Sequence[CanaryAttack], context: Context) -> None:
    """Simulate each attack on ModelMix, and bound the ε of what it attacks from below."""
    from dpmix.privacy.mixing_attack import CONFIDENCE, MixedRun, attack
    from dpmix.privacy.model_mix_accounting import MixedSteps, amplified_epsilon

    for one in progress(wanted, "attacking", "attack"):
        steps = MixedSteps(one.noise_multiplier, one.sampling_rate, one.steps, one.width, one.truncation)
        run = MixedRun(steps, one.momentum, mixed=one.coordinates == "mixed")
        found = attack(run, one.runs, one.seed, one.delta)
        record = {
            "claimed": one.epsilon,
            "epsilon": {"accountant": amplified_epsilon([steps], delta=one.delta), "at_least": found.epsilon},
            "delta": one.delta,
            "confidence": CONFIDENCE,
            "runs": one.runs,
            "share": found.share,
            "hits": found.hits,
            "log_false_positive_rates": found.log_false_positive_rates,
        }
        write_record(one.path(context.scale), record)
