"""One command for each rule of the workflow; each looks up what its output paths stand for in the params."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from dpmix.errors import DataError, ParamsError

steps = typer.Typer(no_args_is_help=True, add_completion=False)

Outputs = Annotated[list[Path], typer.Argument(help="Files to make, as the workflow names them.")]
Output = Annotated[Path, typer.Argument(help="The file to make, as the workflow names it.")]
ParamsPath = Annotated[Path, typer.Option("--params", help="The parameters.")]
Backend = Literal["auto", "reference", "sequential", "vectorized"]
Scale = Annotated[str | None, typer.Option(help="Which scale of the parameters; by default the one they name.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Processor threads; by default what torch chooses.")]
_PARAMS = Path("params.yaml")
_RAW = Path("data/raw")
_DEMO_SEED = 0
_DEMO_IMAGES = 12000

Kind = TypeVar("Kind")


def _catalogue(params: Path, scale: str | None) -> Any:
    from dpmix.catalogue import Catalogue
    from dpmix.params import read

    return Catalogue(read(params), scale)


def _find(catalogue: Any, path: Path, kind: type[Kind]) -> Kind:
    artefact = catalogue.find(path)
    if not isinstance(artefact, kind):
        raise ParamsError(f"{path} is not what this step makes")
    return artefact


def _use(threads: int | None) -> None:
    """Let torch compute on this many threads of the processor."""
    import torch

    if threads:
        torch.set_num_threads(threads)


def _execution(catalogue: Any) -> None:
    """Let frozen encoders compute as the scale says."""
    from dpmix.models.encoders import set_execution

    set_execution(catalogue.spec.bundle.encoder_precision, catalogue.spec.bundle.compile_encoder)


def _strokes() -> tuple[Any, Any, list[str]]:
    """The demo's public data: drawn digits, with the class names of the private ones."""
    from dpmix.demo.strokes import draw

    images, labels = draw(_DEMO_IMAGES, _DEMO_SEED)
    return images, labels, [str(digit) for digit in range(10)]


@steps.command()
def images(output: Output, params: ParamsPath = _PARAMS, scale: Scale = None) -> None:
    """Fetch or make a data set and decode it once at one resolution."""
    from dpmix.datasets import prepare
    from dpmix.experiment import ImageStore

    store = _find(_catalogue(params, scale), output, ImageStore)
    prepare(store.dataset, store.resolution, _RAW, output.parent)


@steps.command()
def encoder(output: Output, params: ParamsPath = _PARAMS, scale: Scale = None) -> None:
    """Fetch a pretrained encoder, or train one on public images: the demo's on drawn digits."""
    from dpmix.experiment import EncoderModel

    spec = _find(_catalogue(params, scale), output, EncoderModel).encoder
    if spec.weights == "strokes":
        from dpmix.demo.encoder import train_encoder

        train_encoder(spec.architecture, *_strokes(), output.parent, _DEMO_SEED)
    elif spec.images:
        from dpmix.datasets import read_public
        from dpmix.demo.encoder import train_encoder

        public = read_public(Path(spec.images), spec.resolution)
        train_encoder(spec.architecture, public.images, public.labels, public.classes, output.parent, _DEMO_SEED)
    else:
        from dpmix.models.encoders import fetch_encoder

        fetch_encoder(spec.architecture, spec.weights, output.parent)


@steps.command()
def diffusion(output: Output, params: ParamsPath = _PARAMS, scale: Scale = None) -> None:
    """Fetch a text-to-image model, or train the demo's on drawn digits."""
    from dpmix.experiment import DiffusionModel

    model = _find(_catalogue(params, scale), output, DiffusionModel)
    if model.model == "strokes":
        from dpmix.demo.diffusion import train_diffusion

        train_diffusion(*_strokes(), output.parent, _DEMO_SEED)
    else:
        from dpmix.synthesis import fetch_model

        fetch_model(model.model, output.parent, revision=model.revision)


@steps.command()
def synthetic(output: Output, params: ParamsPath = _PARAMS, scale: Scale = None, threads: Threads = None) -> None:
    """Draw D, the synthetic images of one data set's classes, or gather public images that are given."""
    from dpmix.datasets import load
    from dpmix.experiment import SyntheticSet
    from dpmix.params import GivenImagesSpec
    from dpmix.synthesis import gather, synthesize
    from dpmix.training.runner import default_device

    _use(threads)
    catalogue = _catalogue(params, scale)
    made = _find(catalogue, output, SyntheticSet)
    names = made.names().path(catalogue.scale).parent
    spec, model, classes = made.diffusion, made.model_on_disk(), load(names, "train").classes
    if model is None or isinstance(spec, GivenImagesSpec):
        assert isinstance(spec, GivenImagesSpec)
        gather(Path(spec.images), classes, made.size, output.parent)
        return
    folder = model.path(catalogue.scale).parent
    synthesize(folder, classes, made.size, output.parent, device=default_device(), **spec.sampling())


@steps.command("synthetic-images")
def synthetic_images(output: Output, params: ParamsPath = _PARAMS, scale: Scale = None) -> None:
    """Hold D's images against its manifest, and decode them once at one resolution."""
    from dpmix.datasets import load, pack_images
    from dpmix.experiment import SyntheticStore
    from dpmix.synthesis import load_synthetic

    catalogue = _catalogue(params, scale)
    store = _find(catalogue, output, SyntheticStore)
    d = store.synthetic
    classes = load(d.names().path(catalogue.scale).parent, "train").classes
    folder = d.path(catalogue.scale).parent
    made = load_synthetic(folder)
    if made.classes != classes or len(made.paths) != d.size:
        raise DataError(
            f"{folder} has {len(made.paths)} images of {len(made.classes)} classes, not the {d.size} of the "
            f"{len(classes)} classes of {d.dataset.name}; delete it and run the same command again"
        )
    pack_images(made.paths, made.labels, classes, store.resolution, output.parent, d.dataset.channels)


@steps.command()
def plans(outputs: Outputs, params: ParamsPath = _PARAMS, scale: Scale = None) -> None:
    """Calibrate the noise of each plan."""
    from dpmix.experiment import PlanFile
    from dpmix.files import write_json
    from dpmix.progress import progress

    catalogue = _catalogue(params, scale)
    for output in progress(outputs, "calibrating", "plan"):
        spec = _find(catalogue, output, PlanFile)
        write_json(output, spec.calibrated().to_json())


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
    """Train the runs, learning-rate selections and gradient records that these files stand for.

    Started by torchrun, the processes share each run.
    """
    from dpmix.training.runner import Execution, make

    _use(threads)
    catalogue = _catalogue(params, scale)
    _execution(catalogue)
    make(
        [catalogue.find(path) for path in outputs],
        catalogue.scale,
        Execution(
            physical_batch=physical_batch or catalogue.spec.bundle.physical_batch,
            backend=backend,
            checkpoint_seconds=checkpoint_seconds,
        ),
    )


@steps.command("zero-shot")
def zero_shot(outputs: Outputs, params: ParamsPath = _PARAMS, scale: Scale = None, threads: Threads = None) -> None:
    """Classify test images by the names of their classes alone, with an encoder's text tower."""
    from dpmix.experiment import ZeroShot
    from dpmix.training.runner import default_device
    from dpmix.zero_shot import measure

    _use(threads)
    catalogue = _catalogue(params, scale)
    _execution(catalogue)
    measure([_find(catalogue, path, ZeroShot) for path in outputs], catalogue.scale, default_device())


@steps.command()
def distances(outputs: Outputs, params: ParamsPath = _PARAMS, scale: Scale = None, threads: Threads = None) -> None:
    """Measure the Fréchet distances that these files stand for."""
    from dpmix.distances import measure
    from dpmix.experiment import Distance
    from dpmix.training.runner import default_device

    _use(threads)
    catalogue = _catalogue(params, scale)
    _execution(catalogue)
    measure([_find(catalogue, path, Distance) for path in outputs], catalogue.scale, default_device())


@steps.command()
def table(
    number: Annotated[str, typer.Argument(help="1 to 13.")], params: ParamsPath = _PARAMS, scale: Scale = None
) -> None:
    """Write one table as CSV, Markdown, LaTeX and JSON."""
    from dpmix.params import known
    from dpmix.tables.build import build
    from dpmix.tables.render import write

    catalogue = _catalogue(params, scale)
    known(number, catalogue.spec.tables, "table")
    write(build(number, catalogue), Path("results", catalogue.scale, "tables"))


@steps.command()
def figure(
    number: Annotated[str, typer.Argument(help="1 or 2.")], params: ParamsPath = _PARAMS, scale: Scale = None
) -> None:
    """Draw one figure as PNG and PDF."""
    from dpmix.drawing import draw_figure
    from dpmix.params import known

    catalogue = _catalogue(params, scale)
    draw_figure(known(number, catalogue.spec.figures, "figure"), catalogue)


@steps.command()
def report(params: ParamsPath = _PARAMS, scale: Scale = None) -> None:
    """Write the page with all tables and figures."""
    from dpmix.report.page import build

    catalogue = _catalogue(params, scale)
    results = Path("results", catalogue.scale)
    if not results.exists():
        raise DataError(f"{results} does not exist; make the tables first: snakemake all_tables all_figures")
    build(results, results / "report" / "index.html")
