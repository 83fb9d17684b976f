"""The options that `dpmix train`, `plan`, `compare` and `audit` have in common, each declared once."""

from pathlib import Path
from typing import Annotated

import typer

Epsilon = Annotated[float | None, typer.Option(help="ε that the model may spend.")]
Delta = Annotated[float | None, typer.Option(help="δ; by default 1e-5 or less.")]
Unit = Annotated[str, typer.Option(help="Protect one image or person.", show_default=False)]
TestShare = Annotated[float | None, typer.Option(help="As of check.")]
Key = Annotated[str | None, typer.Option(help="As of check.")]
SkipDamaged = Annotated[bool, typer.Option("--skip-damaged", help="As of check.")]
Encoder = Annotated[str | None, typer.Option(help="Such as ViT-B-16/openai or timm/NAME.")]
Side = Annotated[int | None, typer.Option(help="Pixels a side that it sees.")]
Synthetic = Annotated[Path | None, typer.Option(help="Public images of the classes, to mix in.")]
Ledger = Annotated[Path | None, typer.Option(help="File that records spent ε.")]
Method = Annotated[str | None, typer.Option(help="self-aug, dp-mix-self or dp-mix-diff.")]
KBase = Annotated[int | None, typer.Option(help="Views that are the image, transformed.")]
KSelf = Annotated[int | None, typer.Option(help="Views that mix two others.")]
KDiff = Annotated[int | None, typer.Option(help="Views that are public images.")]
BatchSize = Annotated[int | None, typer.Option(help="Expected images of a step.")]
Epochs = Annotated[int | None, typer.Option(help="Passes over the images.")]
ClipNorm = Annotated[float | None, typer.Option(help="Bound on a gradient's norm.")]
LearningRate = Annotated[float | None, typer.Option(help="Of SGD; by default by a rule.")]
Device = Annotated[str | None, typer.Option(help="Such as cuda:0.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
