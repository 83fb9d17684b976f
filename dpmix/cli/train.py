"""`dpmix train`: a private classifier from a folder of images."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dpmix.cli.options import options


@options(
    "epsilon delta unit output resume test_share key skip_damaged encoder side synthetic evaluate_epsilon research "
    "seed ledger method k_base k_self k_diff batch_size epochs clip_norm learning_rate device tensorboard"
)
def train(
    images: Annotated[Path, typer.Argument(help="Folder, zip or CSV of images.", metavar="IMAGES")],
    output: Annotated[Path | None, typer.Option(help="Default IMAGES-model.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run.")] = False,
    evaluate_epsilon: Annotated[float | None, typer.Option(help="Release a test accuracy, with this ε.")] = None,
    research: Annotated[bool, typer.Option("--research", help="Show all; seeded, and not for release.")] = False,
    seed: Annotated[int | None, typer.Option(help="Of --research; default 0.")] = None,
    tensorboard: Annotated[Path | None, typer.Option(help="Folder of TensorBoard's.")] = None,
    **shared: Any,
) -> None:
    """Train a private classifier: dpmix train my-images --epsilon 4."""
    from dpmix.own.choices.commands import resume_command
    from dpmix.own.training import train as own

    try:
        made = own.train(
            images,
            output=output,
            resume=resume,
            evaluate_epsilon=evaluate_epsilon,
            research=research,
            seed=seed,
            tensorboard=tensorboard,
            **shared,
        )
    except KeyboardInterrupt:
        if own.is_unfinished(images, output, research):
            typer.echo(f"stopped; go on with: {resume_command(images, output, research)}", err=True)
        raise
    typer.echo(made)
