"""`dpmix step`: a command for each rule of the workflow. It finds in the params what the given paths stand for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dpmix.errors import ParamsError

if TYPE_CHECKING:
    from dpmix.catalogue.catalogue import Catalogue

steps = typer.Typer(no_args_is_help=True, add_completion=False)

Outputs = Annotated[list[Path], typer.Argument(help="Files to make, as the workflow names them.")]
Output = Annotated[Path, typer.Argument(help="The file to make, as the workflow names it.")]
ParamsPath = Annotated[Path, typer.Option("--params", help="The parameters.")]
Backend = Literal["auto", "reference", "sequential", "vectorized", "ghost"]
Scale = Annotated[str | None, typer.Option(help="Which scale of the parameters; by default the one they name.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Processor threads; by default what torch chooses.")]
_PARAMS = Path("params.yaml")


def _catalogue(params: Path, scale: str | None) -> "Catalogue":
    from dpmix.catalogue.catalogue import Catalogue
    from dpmix.params.read import read

    return Catalogue(read(params), scale)


def _make(outputs: list[Path], params: Path, scale: str | None, *kinds: str, **execution: Any) -> None:
    """Make the artefacts at these paths, whose inputs must exist.

    Args:
        outputs: paths of artefacts.
        params: the params file.
        scale: which of its scales; by default the one it names.
        kinds: names of the classes that the artefacts may have.
        execution: changes to what the scale's `bundle` says, see `Execution.of`.

    Raises:
        ParamsError: if the params ask for no such path, or it is of another kind.
    """
    from dpmix.build import make
    from dpmix.execution import Execution
    from dpmix.makers.registry import Context

    catalogue = _catalogue(params, scale)
    found = [catalogue.find(output) for output in outputs]
    for output, artefact in zip(outputs, found, strict=True):
        if type(artefact).__name__ not in kinds:
            made = ", ".join(kinds)
            raise ParamsError(
                f"{output} is of kind {type(artefact).__name__}, and this step makes {made}; see dpmix step --help"
            )
    make(found, Context(catalogue.scale, Execution.of(catalogue.spec.bundle, **execution)))


@steps.command()
def images(output: Output, params: ParamsPath = _PARAMS, scale: Scale = None) -> None:
    """Download or read a data set and decode it once at one resolution."""
    _make([output], params, scale, "ImageStore")


@steps.command()
def encoder(output: Output, params: ParamsPath = _PARAMS, scale: Scale = None, threads: Threads = None) -> None:
    """Download a pretrained encoder, or train one on public images (the demo's on drawn digits)."""
    _make([output], params, scale, "EncoderModel", threads=threads)


@steps.command()
def inception(output: Output, params: ParamsPath = _PARAMS, scale: Scale = None) -> None:
    """Download InceptionV3's weights, by whose features Tables 7 and 8 compare images."""
    _make([output], params, scale, "InceptionWeights")


@steps.command()
def diffusion(output: Output, params: ParamsPath = _PARAMS, scale: Scale = None, threads: Threads = None) -> None:
    """Download a text-to-image model, or train the demo's on drawn digits."""
    _make([output], params, scale, "DiffusionModel", threads=threads)


@steps.command()
def synthetic(output: Output, params: ParamsPath = _PARAMS, scale: Scale = None, threads: Threads = None) -> None:
    """Draw D, the synthetic images of one data set's classes, or copy public images that are given instead."""
    _make([output], params, scale, "SyntheticSet", threads=threads)


@steps.command("synthetic-images")
def synthetic_images(output: Output, params: ParamsPath = _PARAMS, scale: Scale = None) -> None:
    """Check D's images against its manifest, and decode them once at one resolution."""
    _make([output], params, scale, "SyntheticStore")


@steps.command()
def plans(outputs: Outputs, params: ParamsPath = _PARAMS, scale: Scale = None) -> None:
    """Calibrate the noise of privacy plans, and account those of the paper."""
    _make(outputs, params, scale, "PlanFile", "PublishedPrivacy")


@steps.command()
def train(
    outputs: Outputs,
    params: ParamsPath = _PARAMS,
    scale: Scale = None,
    physical_batch: Annotated[
        int | None, typer.Option(min=1, help="Examples computed together, not the params' number.")
    ] = None,
    backend: Annotated[Backend, typer.Option(help="How per-example gradients are computed.")] = "auto",
    threads: Threads = None,
    checkpoint_seconds: Annotated[
        float, typer.Option(min=0, help="How often the state of an unfinished run is kept.")
    ] = 300,
) -> None:
    """Train the runs, learning-rate selections and gradient records at these paths.

    Under torchrun all processes share each run.
    """
    how = {"physical_batch": physical_batch, "backend": backend, "checkpoint_seconds": checkpoint_seconds}
    _make(outputs, params, scale, "Experiment", "Selection", "GradientRecord", threads=threads, **how)


@steps.command("zero-shot")
def zero_shot(outputs: Outputs, params: ParamsPath = _PARAMS, scale: Scale = None, threads: Threads = None) -> None:
    """Measure zero-shot accuracy: test images are classified by comparing them with the names of the classes."""
    _make(outputs, params, scale, "ZeroShot", threads=threads)


@steps.command()
def distances(outputs: Outputs, params: ParamsPath = _PARAMS, scale: Scale = None, threads: Threads = None) -> None:
    """Measure the Fréchet distances at these paths."""
    _make(outputs, params, scale, "Distance", threads=threads)


@steps.command()
def attacks(outputs: Outputs, params: ParamsPath = _PARAMS, scale: Scale = None) -> None:
    """Simulate the canary attacks at these paths."""
    _make(outputs, params, scale, "CanaryAttack")


@steps.command()
def table(
    name: Annotated[str, typer.Argument(help="Its name in the params, such as 9 for the paper's Table 9.")],
    params: ParamsPath = _PARAMS,
    scale: Scale = None,
) -> None:
    """Write one table as CSV, Markdown, LaTeX and JSON."""
    from dpmix.errors import known
    from dpmix.params.tables import table_target
    from dpmix.targets import make_target

    catalogue = _catalogue(params, scale)
    make_target(table_target(known(name, catalogue.spec.tables, "table")), catalogue)


@steps.command()
def mean(
    table: Annotated[Path, typer.Argument(help="A table as JSON.")],
    output: Annotated[Path, typer.Argument(help="The JSON file to write.")],
) -> None:
    """Write the mean over a table's cells, reference rows left out: one number, which DVC shows as a metric."""
    import math

    from dpmix.files import write_json
    from dpmix.tables.render import read
    from dpmix.tables.statistics import mean as mean_of

    found = read(table)
    values = [cell.center for cell in found.cells if not cell.end and cell.center is not None]
    over = mean_of([value for value in values if math.isfinite(value)])
    write_json(output, {} if over is None else {found.stem: round(over, 4)})


@steps.command()
def whole(folder: Annotated[Path, typer.Argument(help="A folder of results.")]) -> None:
    """Make a folder if it is missing, and refuse records in it that were edited, which DVC would else record."""
    from dpmix.seals import read_record

    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.rglob("*.json")):
        read_record(path, "delete it and make it again: dvc repro --force report")


@steps.command()
def figure(
    number: Annotated[str, typer.Argument(help="1 or 2.")], params: ParamsPath = _PARAMS, scale: Scale = None
) -> None:
    """Draw one figure as PNG and PDF."""
    from dpmix.errors import known
    from dpmix.targets import make_target

    catalogue = _catalogue(params, scale)
    make_target(f"figure{known(number, catalogue.spec.figures, 'figure')}", catalogue)


@steps.command()
def claims(params: ParamsPath = _PARAMS, scale: Scale = None) -> None:
    """Judge the paper's claims by the runs of a scale, and write claims.json and claims.md."""
    from dpmix.targets import make_target

    make_target("claims", _catalogue(params, scale))


@steps.command()
def report(params: ParamsPath = _PARAMS, scale: Scale = None) -> None:
    """Write the report, a page with all tables and figures, and the claims."""
    from dpmix.targets import make_target

    make_target("report", _catalogue(params, scale), None if params == _PARAMS else str(params))
