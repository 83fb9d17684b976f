"""One run in its work folder: what it needs, what it is about to spend, its steps, and then its model's folder."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.plan_file import PlanFile
from dpmix.errors import DataError, DpmixError
from dpmix.execution import Execution
from dpmix.own.choices.encoders import encoder_folder
from dpmix.own.choices.setup import Setup, learning_rate_of, relative
from dpmix.own.training import spent, totals
from dpmix.own.training.begun import begun
from dpmix.own.training.following import Following
from dpmix.own.training.signal import signal
from dpmix.own.training.tracking import TensorBoard
from dpmix.own.training.work import Work, work_of, work_words
from dpmix.own.training.work_folder import BEGUN, SCALE
from dpmix.own.training.written import write
from dpmix.progress import say
from dpmix.seals import read_record

if TYPE_CHECKING:
    from dpmix.privacy.plan import Plan


def run_through(made: Setup, execution: Execution, board: Path | None) -> None:
    """Train in the work folder, and write the model's folder from what was trained.

    Args:
        made: the run.
        execution: how to compute.
        board: the folder for TensorBoard, if it is wanted.

    Raises:
        DpmixError: as `dpmix.own.training.train.train` does.
    """
    from dpmix.build import build
    from dpmix.models.encoder_files import shared_encoder

    asked = made.request
    # The plan first: a target that cannot be met, or that leaves nothing to learn, is told before images are decoded.
    build(made.plan_file(), scale=SCALE, execution=execution, quiet=True)
    plan = _plan(made.plan_file())
    left = signal(plan, classes=made.dataset.classes)
    if left.small:
        say(left.sentence)
    folder = encoder_folder(made.model, SCALE, execution)
    # All that the run needs, before it is on record: an image that cannot be read ends it while nothing is spent.
    build(*made.experiment(1.0, 0).inputs(), scale=SCALE, execution=execution, quiet=True)
    dimension = shared_encoder(folder, execution).dim
    rate = learning_rate_of(made, plan, dimension)
    record = spent.Record.of(asked.images, made.listing, asked.ledger)
    told = [TensorBoard(board, timed=asked.research)] if board is not None else []
    seed, entry = begun(asked, plan, made.experiment(rate, 0), record)
    run = made.experiment(rate, seed)
    if entry.state == "finished" and not run.path(SCALE).exists():
        raise DataError(f"{record.path} says that the run of {relative(asked.work)} is finished; delete that folder")
    _announce(made, plan, rate, work_of(made, plan, dimension), record, entry)
    if run.path(SCALE).exists():  # it was killed when all but the model's folder was written
        record.count(entry.key, plan.steps, "research" if asked.research else "finished")
        for one in told:
            one.close()
    else:
        following = Following(plan, plan.batch_size * made.views, record, entry, told)
        _run(run, following, execution)
    write(made, plan, run, record, folder)


def _plan(target: PlanFile) -> "Plan":
    from dpmix.training.inputs import read_plan

    return read_plan(target.path(SCALE))


def _announce(made: Setup, plan: "Plan", rate: float, work: Work, record: spent.Record, entry: spent.Run) -> None:
    """Say what is about to be spent, before the first step."""
    asked, settings = made.request, made.settings
    kinds = ("k_base", "k_self", "k_diff")
    say(
        f"ε = {asked.epsilon:g} for one {asked.unit} at δ = {plan.delta:g}: σ = {plan.noise_multiplier:.4g}, "
        f"q = {plan.sampling_rate:.4g}, {plan.steps} steps of {plan.batch_size} {asked.unit}s on average, "
        f"{' + '.join(str(settings[name]) for name in kinds)} views each; {made.model.label} at "
        f"{made.model.resolution} px, learning rate {rate:.4g}"
    )
    say(work_words(work.encoded, work.kept))
    if asked.research:
        say(
            "research: sample and noise come from a seed, and accuracies are shown, so ε covers nothing of it; the "
            "result is not for release"
        )
        return
    said = totals.so_far(record.runs(), asked.unit, without=entry.key)
    earlier = [one for one in record.runs() if one.key != entry.key]
    if said is not None:
        # Of a run that goes on, every step that was executed may have been lost.
        joint, delta = totals.together([*earlier, entry.model_copy(update={"lost": entry.steps})], asked.unit)
        say(f"{said}; together with this one {totals.in_words(joint, delta)}")
    elif (left := totals.left_behind_words(asked.images, asked.ledger)) is not None:
        say(left)
    if (tests := totals.so_far_on_test_images(record.measured(), asked.unit, asked.evaluate_epsilon)) is not None:
        say(tests)


def _run(run: Experiment, following: Following, how: Execution) -> None:
    from dpmix.build import build

    try:
        build(run, scale=SCALE, execution=replace(how, watcher=following), quiet=True)
        following.done(read_record(run.path(SCALE))["steps"]["executed"])
    except DpmixError:
        if following.withdraw():
            Path(BEGUN).unlink()
        raise
    finally:
        following.close()
