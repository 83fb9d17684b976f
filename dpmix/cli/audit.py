"""`dpmix audit`: a lower bound on ε of a configuration or a model, beside the ε that is claimed."""

from pathlib import Path
from typing import Annotated

import typer


def audit(
    place: Annotated[
        Path, typer.Argument(help="Private images (only names are read), or a model's folder.", metavar="IMAGES|MODEL")
    ],
    epsilon: Annotated[float | None, typer.Option(help="ε that train would spend on the images.")] = None,
    observations: Annotated[int, typer.Option(help="Canaries in, and as many left out.")] = 4000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    delta: Annotated[float | None, typer.Option(help="As of train.")] = None,
    unit: Annotated[str, typer.Option(help="As of train.", show_default=False)] = "image",
    test_share: Annotated[float | None, typer.Option(help="As of check.")] = None,
    key: Annotated[str | None, typer.Option(help="As of check.")] = None,
    method: Annotated[str | None, typer.Option(help="As of train.")] = None,
    k_base: Annotated[int | None, typer.Option(help="As of train.")] = None,
    k_self: Annotated[int | None, typer.Option(help="As of train.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="As of train.")] = None,
    epochs: Annotated[int | None, typer.Option(help="As of train.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="As of train.")] = None,
) -> None:
    """Attack the training with canaries: dpmix audit my-images --epsilon 4, or dpmix audit my-images-model.

    No private image is read. The exit status is 1 if the bound on ε contradicts what is claimed.
    """
    import json

    from dpmix.own import audit as own

    found = own.audit(
        place,
        epsilon=epsilon,
        observations=observations,
        delta=delta,
        unit=unit,
        test_share=test_share,
        key=key,
        method=method,
        k_base=k_base,
        k_self=k_self,
        batch_size=batch_size,
        epochs=epochs,
        clip_norm=clip_norm,
    )
    typer.echo(json.dumps(found.to_json(), ensure_ascii=False, indent=2) if as_json else "\n".join(found.lines()))
    if found.contradicted:
        raise typer.Exit(1)
