"""`dpmix synthesize`: synthetic images for given classes, outside the tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpmix.errors import ParamsError

if TYPE_CHECKING:
    from dpmix.params.specs import DiffusionSpec


def synthesize(
    out: Annotated[Path, typer.Argument(help="The folder of D, one folder a class; resumed if it holds a part.")],
    classes: Annotated[
        Path, typer.Option(help="A text file with a class name a line, or class folders, on disk or in a zip archive.")
    ],
    count: Annotated[int, typer.Option(help="|D|, images in all. Choose it without counting private images.")],
    diffusion: Annotated[str, typer.Option(help="Which entry under `diffusion` in the parameters.")],
    batch_size: Annotated[int | None, typer.Option(help="Images at a time, not the entry's number.")] = None,
    params: Annotated[Path, typer.Option(help="The parameters: model, prompt, guidance, steps, resolution.")] = Path(
        "params.yaml"
    ),
) -> None:
    """Draw D, a synthetic image set, for the names of classes; nothing else is read of private images.

    The finished folder is a data set of public images: name it under `diffusion` as `images: <folder>`.
    """
    from dpmix.errors import known
    from dpmix.params.read import read
    from dpmix.params.specs import DiffusionSpec

    parsed = read(params)
    drawn = {name: spec for name, spec in parsed.diffusion.items() if isinstance(spec, DiffusionSpec)}
    spec = drawn[known(diffusion, drawn, "diffusion model")]
    names, model = _class_names(classes), _model(spec)

    from dpmix.execution import default_device
    from dpmix.synthesis import draw

    sampling = spec.sampling() | ({"batch_size": batch_size} if batch_size else {})
    draw.synthesize(model, names, count, out, device=default_device(), **sampling)
    typer.echo(f"{out}: {count} images of {len(names)} classes")


def _class_names(source: Path) -> list[str]:
    """The lines of a text file, or the names of class folders."""
    from dpmix.data.layout import composed

    source = source.expanduser()
    if not source.exists():
        raise ParamsError(f"{source} does not exist; give a text file of class names, or class folders")
    if source.is_dir() or source.suffix.lower() == ".zip":
        from dpmix.data.folders import class_files

        return list(class_files(source))
    try:
        lines = source.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ParamsError(f"{source} is not a text file in UTF-8; write one class name a line, in UTF-8") from None
    return [name for line in lines if (name := composed(line))]


def _model(spec: DiffusionSpec) -> str | Path:
    """The folder of the model if the workflow has made it; else the repository on the Hugging Face hub.

    Raises:
        ParamsError: for the demo's model, if the workflow has not trained it.
    """
    from dpmix.artefacts.data import DiffusionModel

    folder = DiffusionModel(name=spec.name, model=spec.model, revision=spec.revision).path("").parent
    if folder.exists():
        return folder
    if spec.model == "strokes":
        raise ParamsError(f"{spec.name} is trained by the workflow; make it first: snakemake {folder}/model_index.json")
    return spec.model
