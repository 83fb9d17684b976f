"""`dpmix predict`: the classes of images, by a model's folder."""

from pathlib import Path
from typing import Annotated

import typer


def predict(
    model: Annotated[Path, typer.Argument(help="Folder of a model, as dpmix train writes it.")],
    images: Annotated[list[Path], typer.Argument(help="Image files; folders, zips or CSVs of them.")],
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to name for each image.")] = 1,
    output: Annotated[Path | None, typer.Option(help="File to write; by default CSV or JSON is printed.")] = None,
    format: Annotated[str | None, typer.Option(help="csv, json or parquet; by default as OUTPUT ends.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 64,
) -> None:
    """Say the classes of images and their probabilities.

    dpmix predict my-images-model/ new-images/ --top-k 3 --output predictions.csv

    A file that cannot be read is named on stderr; all others are written, and the exit status is 1.
    """
    import sys

    from dpmix.errors import ParamsError
    from dpmix.own.use import predict as own

    kind = own.format_of(output, format)
    if kind == "parquet" and output is None:
        raise ParamsError("Parquet is not for a screen; name a file: --output predictions.parquet")
    predictions = own.predict(model, images, top_k=top_k, batch_size=batch_size)
    if output is not None:
        own.write(predictions.found, output, kind)
        typer.echo(output)
    elif kind != "parquet":
        sys.stdout.write(own.text(predictions.found, kind))
    for other in predictions.skipped:
        typer.echo(f"skipped: {other.place}: {other.why}", err=True)
    for one in predictions.unreadable:
        typer.echo(f"skipped: {one.why}", err=True)
    if predictions.unreadable:
        raise typer.Exit(1)
