"""`dpmix card`: writes the model card of a model's folder again."""

from pathlib import Path
from typing import Annotated

import typer


def card(model: Annotated[Path, typer.Argument(help="Folder of a model, as dpmix train writes it.")]) -> None:
    """Write the model card, README.md, from privacy.json and config.json; refuse a privacy.json that was edited.

    dpmix card my-images-model/
    """
    from dpmix.own.model import card as own
    from dpmix.own.model import model_folder

    folder = model_folder.read(model)
    folder.check()
    own.write(folder.path / model_folder.CARD, folder.path.resolve().name, folder.config, folder.privacy)
    typer.echo(folder.path / model_folder.CARD)
