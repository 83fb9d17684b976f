"""Commands as a person would type them: the one that goes on with a run, and the one that a model was trained by."""

import shlex
from pathlib import Path

from dpmix.own.request import Request


def resume_command(images: str | Path, output: str | Path | None, research: bool = False) -> str:
    """The command that goes on with an unfinished run."""
    named = ["--output", str(output)] if output is not None else ["--research"] if research else []
    return shlex.join(["dpmix", "train", str(images), *named, "--resume"])


def command(asked: Request) -> str:
    """The command that asks for the same, with paths by their last names: where images lie is nobody's business."""
    words = ["dpmix", "train", asked.images.name]
    for name in type(asked).model_fields:
        value = getattr(asked, name)
        if name in ("images", "output", "ledger") or value is None or value == type(asked).model_fields[name].default:
            continue
        text = value.name if isinstance(value, Path) else f"{value:g}" if isinstance(value, float) else str(value)
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [text])]
    return shlex.join(words)
