"""`dpmix export`: a model's folder in other forms."""

from pathlib import Path
from typing import Annotated

import typer

from dpmix.errors import ParamsError, suggestion

FORMATS = ("hub", "leaderboard", "onnx")


def export(
    model: Annotated[Path, typer.Argument(help="Folder of a model, as dpmix train writes it.")],
    format: Annotated[str, typer.Option(help="onnx; hub: a folder to upload; leaderboard: an entry to print.")],
    output: Annotated[Path | None, typer.Option(help="What to write; by default named after MODEL.")] = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="For the leaderboard: the folder that dpmix evaluate wrote.")
    ] = None,
) -> None:
    """Write a model for others: ONNX, a folder for the Hugging Face hub, or an entry for the DP leaderboard.

    dpmix export my-images-model/ --format onnx

    Nothing is uploaded.
    """
    from dpmix.own.model import export as own
    from dpmix.own.model import model_folder

    if format not in FORMATS:
        raise ParamsError(f"unknown format {format!r}; {suggestion(format, FORMATS)}")
    folder = model_folder.read(model)
    name = folder.path.resolve().name
    if format == "hub":
        typer.echo(f"{own.hub(folder, output or Path(f'{name}-hub'))}/")
        return
    if format == "onnx":
        from dpmix.own.model import onnx_file

        out = output or Path(f"{name}.onnx")
        folder.check()
        own.refuse_existing(out)
        onnx_file.write(folder, out)
        typer.echo(out)
        return
    if evaluation is None:
        raise ParamsError("an entry states an accuracy; name the folder that dpmix evaluate wrote: --evaluation")
    typer.echo(own.leaderboard(folder, evaluation), nl=False)
