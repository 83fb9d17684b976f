"""`dpmix audit`: a lower bound on ε of a configuration or a model, beside the ε that is claimed."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dpmix.cli.options import options


@options("epsilon observations as_json delta unit test_share key method k_base k_self batch_size epochs clip_norm")
def audit(
    place: Annotated[
        Path, typer.Argument(help="Private images (only names are read), or a model's folder.", metavar="IMAGES|MODEL")
    ],
    observations: Annotated[int, typer.Option(help="Canaries in, and as many left out.")] = 4000,
    **shared: Any,
) -> None:
    """Attack the training with canaries: dpmix audit my-images --epsilon 4, or dpmix audit my-images-model.

    No private image is read. What is found of a model is entered in its privacy.json and card. The exit status is 1 if
    the bound on ε contradicts what is claimed.
    """
    import json

    from dpmix.own.research import audit as own

    as_json = shared.pop("as_json")
    found = own.audit(place, observations=observations, **shared)
    typer.echo(json.dumps(found.to_json(), ensure_ascii=False, indent=2) if as_json else "\n".join(found.lines()))
    if found.contradicted:
        raise typer.Exit(1)
