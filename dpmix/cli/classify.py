"""`dpmix classify`: the classes of images, by a released model."""

from pathlib import Path
from typing import Annotated

import typer

from dpmix.errors import DataError


def classify(
    model: Annotated[Path, typer.Argument(help="model.safetensors of a run with release: true.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    encoder: Annotated[
        Path | None, typer.Option(help="Folder of the model's frozen encoder, if not where the workflow keeps it.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 64,
) -> None:
    """Print the class of each image and its probability as CSV; on stderr, what ε the model was trained with."""
    import csv
    import sys

    import numpy as np

    from dpmix.data.file_names import printable
    from dpmix.data.folders import files_at, part_of_files
    from dpmix.execution import default_device
    from dpmix.own.use.probabilities import probabilities
    from dpmix.privacy.accounting import rounded_up
    from dpmix.progress import progress
    from dpmix.release import model as release_model

    device = default_device()
    _refuse_no_model(model, images)
    classifier = release_model.load(model, encoder, device)
    files, skipped = files_at(images)
    claims = sorted(classifier.statement.epsilons.items())
    spent = ", ".join(f"{rounded_up(value, 4)} ({name})" for name, value in claims)
    typer.echo(f"{model}: ε = {spent or '∞'}, δ = {classifier.statement.delta:g}", err=True)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["image", "class", "probability"])
    part = part_of_files([file for _, file in files], np.zeros(len(files)))
    found = probabilities(classifier, part, batch_size=batch_size, device=device)
    others = [f"{other.place}: {other.why}" for other in skipped]
    unreadable = []
    for (name, _), row in zip(files, progress(found, "classifying", "image", len(files)), strict=True):
        if isinstance(row, DataError):
            unreadable.append(str(row))
        else:
            best = int(np.argmax(row))
            writer.writerow([name, classifier.classes[best], f"{row[best]:.4f}"])
    for why in (*others, *unreadable):
        typer.echo(f"skipped: {printable(why)}", err=True)
    if unreadable:
        raise typer.Exit(1)


def _refuse_no_model(model: Path, images: list[Path]) -> None:
    """Check that the first argument is a model and not, say, the folder of images.

    Raises:
        DataError: if it does not exist, or is something else.
    """
    if not model.exists():
        raise DataError(f"MODEL {model} does not exist; a run with release: true leaves it beside its metrics.json")
    swapped = model.suffix != ".safetensors" and any(image.suffix == ".safetensors" for image in images)
    if model.is_dir() or swapped:
        what = "a folder" if model.is_dir() else "no released model"
        raise DataError(f"MODEL {model} is {what}; write the model first: dpmix classify model.safetensors images/")
