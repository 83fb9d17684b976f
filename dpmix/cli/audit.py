"""`dpmix audit`: a lower bound on ε of a configuration or a model, beside the ε that is claimed."""

from pathlib import Path
from typing import Annotated

import typer

from dpmix.cli.options import (
    AsJson,
    BatchSize,
    ClipNorm,
    Delta,
    Epochs,
    Epsilon,
    KBase,
    Key,
    KSelf,
    Method,
    TestShare,
    Unit,
)


def audit(
    place: Annotated[
        Path, typer.Argument(help="Private images (only names are read), or a model's folder.", metavar="IMAGES|MODEL")
    ],
    epsilon: Epsilon = None,
    observations: Annotated[int, typer.Option(help="Canaries in, and as many left out.")] = 4000,
    as_json: AsJson = False,
    delta: Delta = None,
    unit: Unit = "image",
    test_share: TestShare = None,
    key: Key = None,
    method: Method = None,
    k_base: KBase = None,
    k_self: KSelf = None,
    batch_size: BatchSize = None,
    epochs: Epochs = None,
    clip_norm: ClipNorm = None,
) -> None:
    """Attack the training with canaries: dpmix audit my-images --epsilon 4, or dpmix audit my-images-model.

    No private image is read. What is found of a model is entered in its privacy.json and card. The exit status is 1 if
    the bound on ε contradicts what is claimed.
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
