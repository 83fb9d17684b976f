"""`train`: a private classifier from a folder of images, in one process, with what was spent on them on record.

Steps: list the images, calibrate the noise, find the learning rate that goes with it, say what is about to be spent,
train, and write the model's folder (`dpmix.own.model_folder`). Everything in between lies in a work folder beside it
(`dpmix.own.work_folder`), so that a run which was stopped goes on.
"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpmix.artefacts.data import EncoderModel
from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.plan_file import PlanFile
from dpmix.errors import DataError, DpmixError, PrivacyError
from dpmix.execution import Execution
from dpmix.files import atomic_directory
from dpmix.own import spent
from dpmix.own.begun import BEGUN, begun
from dpmix.own.commands import command, resume_command
from dpmix.own.following import Following
from dpmix.own.place import expanded
from dpmix.own.request import Request, default_out, keep, kept, refuse_another, request
from dpmix.own.setup import MANIFEST, Setup, learning_rate_of, listed, relative, setup, sizes, split
from dpmix.own.tracking import TensorBoard, refuse_absent
from dpmix.own.work_folder import empty, entered, remove
from dpmix.privacy.accounting import rounded_up
from dpmix.privacy.discrete_laplace import noise_deviation
from dpmix.progress import say
from dpmix.release.statement import read_statement
from dpmix.seals import read_record
from dpmix.wording import argument

if TYPE_CHECKING:
    from dpmix.data.listing import Listing
    from dpmix.privacy.plan import Plan

_SCALE = "own"  # the name of the scale, which is part of paths in the work folder
_REQUEST = "request.json"
_CHECKPOINT_SECONDS = 15.0


def train(
    images: str | Path,
    *,
    epsilon: float | None = None,
    output: str | Path | None = None,
    delta: float | None = None,
    unit: str = "image",
    test_share: float | None = None,
    key: str | None = None,
    skip_damaged: bool = False,
    method: str | None = None,
    k_base: int | None = None,
    k_self: int | None = None,
    k_diff: int | None = None,
    batch_size: int | None = None,
    epochs: int | None = None,
    clip_norm: float | None = None,
    learning_rate: float | None = None,
    encoder: str | None = None,
    side: int | None = None,
    synthetic: str | Path | None = None,
    evaluate_epsilon: float | None = None,
    research: bool = False,
    seed: int | None = None,
    ledger: str | Path | None = None,
    resume: bool = False,
    device: str | None = None,
    tensorboard: str | Path | None = None,
) -> Path:
    """Train a linear head on a frozen public encoder with DP-SGD and mixup, and write a model that may be handed out.

    Sample and noise come from the operating system. Only step, ε, speed and time left are shown.

    Args:
        images: a folder, zip archive or CSV file of images, as `dpmix.data.listing.read_listing` understands them.
        epsilon: ε that the run may spend; not needed with `resume`.
        output: the model's folder, which must not exist; by default `<images>-model`.
        delta: δ; by default 1e-5 or less, and at most a tenth of 1 / N.
        unit: who is protected by ε: an `image`, or a `person` with all their images.
        test_share: the share of test images, where no split is given; by default 0.2.
        key: public; by which such a split is drawn.
        skip_damaged: leave out images that cannot be read, and say how many.
        method: `self-aug`, `dp-mix-self` or `dp-mix-diff`; by default dp-mix-diff if there are public images to mix in.
        k_base, k_self, k_diff: views of a unit in each step: transformed, mixed, and of public images.
        batch_size: B, the expected number of units in a step.
        epochs: passes over the data, in expectation.
        clip_norm: C, the bound on the norm of a unit's gradient.
        learning_rate: of SGD; by default a rule's, which looks at no image. A rate that was chosen by looking at the
            private images is not covered by ε.
        encoder: which frozen encoder, as `dpmix.own.encoders.encoder` takes it; by default the one in the package.
        side: R, the side in pixels at which it sees images.
        synthetic: a folder or zip archive of public images of the same classes, to be mixed in.
        evaluate_epsilon: ε of a test accuracy that is written into the model's folder, with noise of its own. By
            default none is.
        research: train with a seed, show accuracies, and write `metrics.json` alone: no ε covers it.
        seed: of a research run; by default 0.
        ledger: the file that records what was spent; by default beside the images.
        resume: go on with the unfinished run of the same `output`, with the options that it was begun with.
        device: where to compute, such as `cuda:0`; by default a GPU if there is one.
        tensorboard: a folder for TensorBoard; it gets what the screen shows.

    Returns:
        The folder that was written.

    Raises:
        ParamsError: for options that do not fit together.
        DataError: for images that cannot be used, an `output` that exists, or an unfinished run without `resume`.
        PrivacyError: for an ε that cannot be met, or steps that were not what they should be.
        KeyboardInterrupt: if it was stopped; `resume` goes on.
    """
    options: dict[str, Any] = {
        "epsilon": epsilon, "delta": delta, "unit": unit, "test_share": test_share,
        "key": key, "skip_damaged": skip_damaged, "method": method, "k_base": k_base, "k_self": k_self,
        "k_diff": k_diff, "batch_size": batch_size, "epochs": epochs, "clip_norm": clip_norm,
        "learning_rate": learning_rate, "encoder": encoder, "side": side, "synthetic": synthetic,
        "evaluate_epsilon": evaluate_epsilon, "research": research, "seed": seed, "ledger": ledger,
    }  # fmt: skip
    asked = _resumed(images, output, options) if resume else request(images, output, **options)
    if asked.output.exists():
        raise DataError(f"{relative(asked.output)} exists and is not overwritten; name another folder: --output FOLDER")
    if not resume and (asked.work / BEGUN).exists():
        raise DataError(
            f"{relative(asked.work)} holds an unfinished run; go on with it: "
            f"{resume_command(images, output, research)}; or delete it"
        )
    if tensorboard is not None:
        refuse_absent()
    named = relative(asked.images)  # as of the working directory, which is about to be another
    board = expanded(tensorboard).absolute() / asked.output.name if tensorboard is not None else None
    with entered(asked.work):  # from here on no other process is in it, so that it may be removed
        try:
            if not resume:
                empty()
            listing = _listing(asked, resume)
            made = setup(asked, listing)
            made.experiment(1.0, 0)  # does all fit together?
            say(f"{asked.images.name}: {sizes(listing, asked)}{_skipped(listing, named)}")
            _trained(made, Execution(device=device, checkpoint_seconds=_CHECKPOINT_SECONDS), board)
        except DpmixError:
            if not Path(BEGUN).exists():  # no step was taken
                remove(asked.work)
            raise
        remove(asked.work)
    return relative(asked.output)


def is_unfinished(images: str | Path, output: str | Path | None, research: bool = False) -> bool:
    """Whether there is an unfinished run for `train` to go on with."""
    return (_work(images, output, research) / _REQUEST).exists()


def _work(images: str | Path, output: str | Path | None, research: bool) -> Path:
    folder = expanded(output).absolute() if output is not None else default_out(Path(images), research)
    return folder.with_name(folder.name + ".work")


def _resumed(images: str | Path, output: str | Path | None, options: Mapping[str, Any]) -> Request:
    """The request of the unfinished run, if it is for the same images and options.

    Raises:
        DataError: if there is none.
        ParamsError: if another value was given for one of its options.
    """
    path = _work(images, output, bool(options["research"])) / _REQUEST
    if not path.exists():
        raise DataError(f"{relative(path.parent)} holds no unfinished run; leave out --resume to train afresh")
    before = kept(path)
    refuse_another({"images": expanded(images).resolve(), **options}, before)
    return before


def _listing(asked: Request, resume: bool) -> "Listing":
    """The images, listed once: the list is kept in the work folder, so that a run goes on with the same ones."""
    from dpmix.data.manifest import read_manifest, write_manifest

    manifest = Path(MANIFEST)
    if resume and manifest.exists():
        return read_manifest(manifest)
    listing = listed(asked)
    write_manifest(listing, manifest)
    keep(asked, Path(_REQUEST))
    return listing


def _skipped(listing: "Listing", images: Path) -> str:
    count = len(listing.skipped)
    files = "file is" if count == 1 else "files are"
    return f" ({count:,} {files} not used; dpmix check {argument(images)} says why)" if count else ""


def _trained(made: Setup, execution: Execution, board: Path | None) -> None:
    """Train in the work folder, and write the model's folder from what was trained."""
    from dpmix.build import build
    from dpmix.models.encoder_files import shared_encoder

    asked = made.request
    folder = EncoderModel(encoder=made.model).path(_SCALE).parent
    # All that the run needs, before it is on record: an image that cannot be read ends it while nothing is spent.
    build(*made.experiment(1.0, 0).inputs(), scale=_SCALE, execution=execution, quiet=True)
    plan = _plan(made.plan_file())
    rate = learning_rate_of(made, plan, shared_encoder(folder, execution).dim)
    record = spent.Record.of(asked.images, made.listing, asked.ledger)
    told = [TensorBoard(board)] if board is not None else []
    seed, entry = begun(asked, plan, made.experiment(rate, 0), record)
    run = made.experiment(rate, seed)
    if entry.state == "finished" and not run.path(_SCALE).exists():
        raise DataError(f"{record.path} says that the run of {relative(asked.work)} is finished; delete that folder")
    _announce(made, plan, rate, record, entry)
    if run.path(_SCALE).exists():  # it was killed when all but the model's folder was written
        record.count(entry.key, plan.steps, "research" if asked.research else "finished")
        for one in told:
            one.close()
    else:
        following = Following(plan, plan.batch_size * made.views, record, entry, told)
        _run(run, following, execution)
    _write(made, plan, run, record, folder)


def _plan(target: PlanFile) -> "Plan":
    from dpmix.training.inputs import read_plan

    return read_plan(target.path(_SCALE))


def _announce(made: Setup, plan: "Plan", rate: float, record: spent.Record, entry: spent.Run) -> None:
    """Say what is about to be spent, before the first step."""
    asked, settings = made.request, made.settings
    kinds = ("k_base", "k_self", "k_diff")
    say(
        f"ε = {asked.epsilon:g} for one {asked.unit} at δ = {plan.delta:g}: σ = {plan.noise_multiplier:.4g}, "
        f"q = {plan.sampling_rate:.4g}, {plan.steps} steps of {plan.batch_size} {asked.unit}s on average, "
        f"{' + '.join(str(settings[name]) for name in kinds)} views each; {made.model.label} at "
        f"{made.model.resolution} px, learning rate {rate:.4g}"
    )
    if asked.research:
        say(
            "research: sample and noise come from a seed, and accuracies are shown, so ε covers nothing of it; the "
            "result is not for release"
        )
        return
    said = spent.so_far(record.runs(), asked.unit, without=entry.key)
    earlier = [one for one in record.runs() if one.key != entry.key]
    if said is not None:
        # Of a run that goes on, every step that was executed may have been lost.
        joint, delta = spent.together([*earlier, entry.model_copy(update={"lost": entry.steps})], asked.unit)
        say(f"{said}; together with this one {spent.in_words(joint, delta)}")


def _run(run: Experiment, following: Following, how: Execution) -> None:
    from dpmix.build import build

    try:
        build(run, scale=_SCALE, execution=replace(how, watcher=following), quiet=True)
        following.done(read_record(run.path(_SCALE))["steps"]["executed"])
    finally:
        following.close()


def _write(made: Setup, plan: "Plan", run: Experiment, record: spent.Record, encoder: Path) -> None:
    from dpmix.own import model_folder

    asked, metrics = made.request, run.path(_SCALE)
    if asked.research:
        with atomic_directory(asked.output) as temporary:
            shutil.copyfile(metrics, temporary / "metrics.json")
        say(
            f"accuracy {read_record(metrics)['accuracy']:.2f} % of the test images; {asked.output.name} is not for "
            "release"
        )
        return
    released = metrics.parent / "model.safetensors"
    facts: dict[str, Any] = {
        "learning_rate": "rule" if asked.learning_rate is None else "given",
        "population_public": f"the number of training {asked.unit}s is published with the model",
        "command": command(asked),
    }
    if asked.evaluate_epsilon is not None:
        from dpmix.own.released_accuracy import noisy_accuracy

        facts["evaluation"] = noisy_accuracy(run, _SCALE, released, encoder, made, record, asked.evaluate_epsilon)
    runs = [one for one in record.runs() if one.covered and one.unit == asked.unit]
    joint, delta = spent.together(runs, asked.unit)
    said, own = float(rounded_up(spent.tightest(joint), 4)), min(read_statement(released).epsilons.values())
    if said < own * (1 - 1e-3):
        raise PrivacyError(
            f"{record.path} has {said} as the epsilon of all models, and this one has spent {own:.4f}; it was changed "
            "meanwhile: put back the file that had all runs"
        )
    facts["together"] = {"epsilon": said, "delta": delta, "models": len(runs)}
    # So that `dpmix evaluate` finds the same test images again.
    model_folder.write(asked.output, model=released, encoder=encoder, privacy=facts, config={"split": split(asked)})
    if found := facts.get("evaluation"):
        deviation = 100 * noise_deviation(found["epsilon"]) / found["images"]
        say(
            f"accuracy {found['accuracy']:.1f} % of {found['images']} test {asked.unit}s, with noise of standard "
            f"deviation {deviation:.1f}, for ε = {found['epsilon']:g} of them"
        )
    said = read_record(metrics)["epsilon"]["pld"]
    say(f"{asked.output.name}: ε = {rounded_up(said, 4)} for one {asked.unit} at δ = {plan.delta:g}")
