"""The options that `dpmix train`, `plan`, `compare` and `audit` have in common, each declared once."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from dpmix.data.sides import KEY, TEST_SHARE
from dpmix.own.choices import recipe

SHARED: dict[str, tuple[Any, Any]] = {
    "epsilon": (Annotated[float | None, typer.Option(help="ε that the model may spend, such as 4.")], None),
    "delta": (Annotated[float | None, typer.Option(help=f"δ; default {recipe.LARGEST_DELTA:g} or less.")], None),
    "unit": (Annotated[str, typer.Option(help="image (default) or person: whose ε.", show_default=False)], "image"),
    "test_share": (Annotated[float | None, typer.Option(help=f"Share of test images; default {TEST_SHARE}.")], None),
    "key": (Annotated[str | None, typer.Option(help=f"Draws the test images; default {KEY}.")], None),
    "skip_damaged": (
        Annotated[bool, typer.Option("--skip-damaged", help="Leave out images that cannot be read.")],
        False,
    ),
    "encoder": (
        Annotated[str | None, typer.Option(help=f"timm/NAME, ViT-B-16/openai, … Default {recipe.ENCODER}.")],
        None,
    ),
    "side": (Annotated[int | None, typer.Option(help=f"Pixels a side; default {recipe.SIDE}, or its own.")], None),
    "synthetic": (Annotated[Path | None, typer.Option(help="Public images of the classes to mix in.")], None),
    "ledger": (Annotated[Path | None, typer.Option(help="Record of spent ε; default beside IMAGES.")], None),
    "method": (
        Annotated[
            str | None,
            typer.Option(
                help=f"self-aug, {recipe.METHOD} (default) or {recipe.METHOD_WITH_PUBLIC} (with public images)."
            ),
        ],
        None,
    ),
    "k_base": (Annotated[int | None, typer.Option(help=f"Views of the image; default {recipe.K_BASE}.")], None),
    "k_self": (Annotated[int | None, typer.Option(help=f"Views that mix two; default {recipe.K_SELF}.")], None),
    "k_diff": (
        Annotated[int | None, typer.Option(help=f"Public views; {recipe.K_DIFF} by --synthetic, else 0.")],
        None,
    ),
    "batch_size": (
        Annotated[int | None, typer.Option(help=f"Expected images a step; default N/{1 / recipe.RATE:g}.")],
        None,
    ),
    "epochs": (Annotated[int | None, typer.Option(help=f"Passes over the images; default {recipe.EPOCHS}.")], None),
    "clip_norm": (
        Annotated[float | None, typer.Option(help=f"Bound on a gradient's norm; default {recipe.CLIP_NORM:g}.")],
        None,
    ),
    "learning_rate": (Annotated[float | None, typer.Option(help="Of SGD; by default by a rule.")], None),
    "device": (Annotated[str | None, typer.Option(help="Such as cuda:0; default a GPU, or cpu.")], None),
    "as_json": (Annotated[bool, typer.Option("--json", help="Print JSON.")], False),
}
"""Of each its type, with its help, and its default."""

OPTIONS = frozenset(SHARED) | {
    "evaluate_epsilon", "format", "output", "research", "resume", "seed", "seeds", "split", "tensorboard",
}  # fmt: skip
"""Arguments of the functions behind the verbs that have an option of their name, which messages may name."""


def options(names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that gives a command shared options in the place of its `**shared`.

    Args:
        names: those of the command's options, its own and shared ones, in the order in which its help shows them.
    """

    def declare(command: Callable[..., None]) -> Callable[..., None]:
        own = dict(inspect.signature(command).parameters)
        del own["shared"]
        declared = [own.pop(name) if name in own else _parameter(name) for name in names.split()]
        signature = inspect.Signature([*own.values(), *declared])
        command.__signature__ = signature  # type: ignore[attr-defined]
        command.__annotations__ = {name: one.annotation for name, one in signature.parameters.items()}
        return command

    return declare


def _parameter(name: str) -> inspect.Parameter:
    kind, default = SHARED[name]
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind)
