"""`dpmix train`: a private classifier from a folder of images."""

from pathlib import Path
from typing import Annotated

import typer

from dpmix.cli.options import (
    BatchSize,
    ClipNorm,
    Delta,
    Device,
    Encoder,
    Epochs,
    Epsilon,
    KBase,
    KDiff,
    Key,
    KSelf,
    LearningRate,
    Ledger,
    Method,
    Side,
    SkipDamaged,
    Synthetic,
    TestShare,
    Unit,
)


def train(
    images: Annotated[Path, typer.Argument(help="Folder, zip or CSV of images.", metavar="IMAGES")],
    epsilon: Epsilon = None,
    delta: Delta = None,
    unit: Unit = "image",
    output: Annotated[Path | None, typer.Option(help="By default IMAGES-model.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run.")] = False,
    test_share: TestShare = None,
    key: Key = None,
    skip_damaged: SkipDamaged = False,
    encoder: Encoder = None,
    side: Side = None,
    synthetic: Synthetic = None,
    evaluate_epsilon: Annotated[float | None, typer.Option(help="Release a test accuracy, with this ε.")] = None,
    research: Annotated[bool, typer.Option("--research", help="Show all; seeded, and not for release.")] = False,
    seed: Annotated[int | None, typer.Option(help="Of --research.")] = None,
    ledger: Ledger = None,
    method: Method = None,
    k_base: KBase = None,
    k_self: KSelf = None,
    k_diff: KDiff = None,
    batch_size: BatchSize = None,
    epochs: Epochs = None,
    clip_norm: ClipNorm = None,
    learning_rate: LearningRate = None,
    device: Device = None,
    tensorboard: Annotated[Path | None, typer.Option(help="Folder of TensorBoard's.")] = None,
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
            tensorboard=tensorboard,
        )
    except KeyboardInterrupt:
        if own.is_unfinished(images, output, research):
            typer.echo(f"stopped; go on with: {resume_command(images, output, research)}", err=True)
        raise
    typer.echo(made)
