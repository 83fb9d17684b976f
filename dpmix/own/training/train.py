"""`train`: a private classifier from a folder of images, in one process, with what was spent on them on record.

Steps: list the images, calibrate the noise, find the learning rate that goes with it, say what is about to be spent,
train (`dpmix.own.training.trained`), and write the model's folder (`dpmix.own.training.written`). Everything in between
lies in a work folder beside it (`dpmix.own.training.work_folder`), so that a run which was stopped goes on.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpmix.errors import DataError
from dpmix.execution import Execution, usable_device
from dpmix.own.choices.commands import resume_command
from dpmix.own.choices.request import Request, default_out, keep, kept, refuse_another, request
from dpmix.own.choices.setup import MANIFEST, listed, relative, setup, sizes
from dpmix.own.images.place import expanded
from dpmix.own.training.tracking import refuse_absent
from dpmix.own.training.trained import run_through
from dpmix.own.training.work_folder import BEGUN, empty, entered, remove
from dpmix.progress import say
from dpmix.wording import argument

if TYPE_CHECKING:
    from dpmix.data.listing import Listing

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
        encoder: which frozen encoder, as `dpmix.own.choices.encoders.encoder` takes it; by default the one in the
            package.
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
        raise DataError(f"{relative(asked.output)} exists and is not overwritten; name another: `output='FOLDER'`")
    if not resume and (asked.work / BEGUN).exists():
        raise DataError(
            f"{relative(asked.work)} holds an unfinished run; go on with it: "
            f"{resume_command(images, output, research)}; or delete it"
        )
    if tensorboard is not None:
        refuse_absent()
    named = relative(asked.images)  # as of the working directory, which is about to be another
    board = expanded(tensorboard).absolute() / asked.output.name if tensorboard is not None else None
    where = usable_device(device)
    with entered(asked.work):  # from here on no other process is in it, so that it may be removed
        try:
            if not resume:
                empty()
            listing = _listing(asked, resume)
            made = setup(asked, listing)
            made.experiment(1.0, 0)  # does all fit together?
            say(f"{asked.images.name}: {sizes(listing, asked)}{_skipped(listing, named)}")
            run_through(made, Execution(device=where, checkpoint_seconds=_CHECKPOINT_SECONDS), board)
        except BaseException as error:
            goes_on = isinstance(error, KeyboardInterrupt) and Path(_REQUEST).exists()
            if not Path(BEGUN).exists() and not goes_on:  # no step was taken
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
        raise DataError(f"{relative(path.parent)} holds no unfinished run; leave out `resume` to train afresh")
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
