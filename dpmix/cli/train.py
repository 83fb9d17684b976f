"""`dpmix train`: a private classifier from a folder of images."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    images: Annotated[Path, typer.Argument(help="Folder, zip or CSV of images.", metavar="IMAGES")],
    epsilon: Annotated[float | None, typer.Option(help="ε that the model may spend.")] = None,
    delta: Annotated[float | None, typer.Option(help="δ; by default 1e-5 or less.")] = None,
    unit: Annotated[str, typer.Option(help="Protect one image or person.", show_default=False)] = "image",
    output: Annotated[Path | None, typer.Option(help="By default IMAGES-model.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run.")] = False,
    test_share: Annotated[float | None, typer.Option(help="As of check.")] = None,
    key: Annotated[str | None, typer.Option(help="As of check.")] = None,
    skip_damaged: Annotated[bool, typer.Option("--skip-damaged", help="As of check.")] = False,
    encoder: Annotated[str | None, typer.Option(help="Such as ViT-B-16/openai or timm/NAME.")] = None,
    side: Annotated[int | None, typer.Option(help="Pixels a side that it sees.")] = None,
    synthetic: Annotated[Path | None, typer.Option(help="Public images of the classes, to mix in.")] = None,
    evaluate_epsilon: Annotated[float | None, typer.Option(help="Release a test accuracy, with this ε.")] = None,
    research: Annotated[bool, typer.Option("--research", help="Show all; seeded, and not for release.")] = False,
    seed: Annotated[int | None, typer.Option(help="Of --research.")] = None,
    ledger: Annotated[Path | None, typer.Option(help="File that records spent ε.")] = None,
    method: Annotated[str | None, typer.Option(help="self-aug, dp-mix-self or dp-mix-diff.")] = None,
    k_base: Annotated[int | None, typer.Option(help="Views that are the image, transformed.")] = None,
    k_self: Annotated[int | None, typer.Option(help="Views that mix two others.")] = None,
    k_diff: Annotated[int | None, typer.Option(help="Views that are public images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Expected images of a step.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the images.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Bound on a gradient's norm.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of SGD; by default by a rule.")] = None,
    device: Annotated[str | None, typer.Option(help="Such as cuda:0.")] = None,
) -> None:
    """Train a private classifier: dpmix train my-images --epsilon 4."""
    from dpmix.own import train as own
    from dpmix.own.commands import resume_command

    try:
        made = own.train(
            images,
            epsilon=epsilon,
            output=output,
            delta=delta,
            unit=unit,
            test_share=test_share,
            key=key,
            skip_damaged=skip_damaged,
            method=method,
            k_base=k_base,
            k_self=k_self,
            k_diff=k_diff,
            batch_size=batch_size,
            epochs=epochs,
            clip_norm=clip_norm,
            learning_rate=learning_rate,
            encoder=encoder,
            side=side,
            synthetic=synthetic,
            evaluate_epsilon=evaluate_epsilon,
            research=research,
            seed=seed,
            ledger=ledger,
            resume=resume,
            device=device,
        )
    except KeyboardInterrupt:
        if own.is_unfinished(images, output, research):
            typer.echo(f"stopped; go on with: {resume_command(images, output, research)}", err=True)
        raise
    typer.echo(made)
