"""`dpmix evaluate`: how good a model's folder is on images whose classes are known."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of a model, as dpmix train writes it.")],
    images: Annotated[Path, typer.Argument(help="Images with classes, as dpmix train reads them.")],
    output: Annotated[Path | None, typer.Option(help="Folder to write; by default IMAGES-evaluation.")] = None,
    split: Annotated[str, typer.Option(help="test; train; or all, of images that are in no set.")] = "test",
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 64,
) -> None:
    """Measure a model on images whose classes are known: accuracy, calibration, confusion.

    dpmix evaluate my-images-model/ my-images/

    These numbers read the images without noise; what that means is printed with them.
    """
    from dpmix.own.use.evaluate import evaluate as measure

    found = measure(model, images, output=output, split=split, batch_size=batch_size)
    values = found.measures
    low, high = values["accuracy_interval"]
    area = f"{values['macro_auc']:.3f}" if values["macro_auc"] is not None else "none"
    typer.echo(f"accuracy {values['accuracy']:.1%} ({low:.1%} to {high:.1%}), {values['images']} {split} images")
    typer.echo(f"balanced accuracy {values['balanced_accuracy']:.1%}, macro AUC {area}")
    typer.echo(f"expected calibration error {values['calibration']['expected_error']:.3f}")
    typer.echo(f"more in {found.path}/")
    typer.echo(values["reads"], err=True)
    for one in found.unreadable:
        typer.echo(f"skipped: {one.why}", err=True)
    if found.unreadable:
        raise typer.Exit(1)
