"""Commands as a person would type them: the one that goes on with a run, and the one that a model was trained by."""

import shlex
from pathlib import Path

from dpmix.own.choices.request import Request, encoder_place, flag
from dpmix.wording import argument


def resume_command(images: str | Path, output: str | Path | None, research: bool = False) -> str:
    """The command that goes on with an unfinished run."""
    named = f" --output {argument(output)}" if output is not None else " --research" if research else ""
    return f"dpmix train {argument(images)}{named} --resume"


def command(asked: Request) -> str:
    """The command that asks for the same, with paths by their last names: where images lie is nobody's business."""
    words = ["dpmix", "train", argument(asked.images.name)]
    for name in type(asked).model_fields:
        value = getattr(asked, name)
        if name in ("images", "output", "ledger") or value is None or value == type(asked).model_fields[name].default:
            continue
        text = f"{value:g}" if isinstance(value, float) else str(value)
        place = value if isinstance(value, Path) else encoder_place(value) if name == "encoder" else None
        text = argument(place.name) if place is not None else shlex.quote(text)
        words += [f"--{flag(name)}", *([] if value is True else [text])]
    return " ".join(words)
