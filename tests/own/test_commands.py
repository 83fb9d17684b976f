import shlex
from pathlib import Path

import pytest
import typer

from dpmix.cli.app import app
from dpmix.own.commands import command, resume_command
from dpmix.own.request import request


def test_the_commands_that_are_told(images: Path) -> None:
    assert resume_command("my images", None) == "dpmix train 'my images' --resume"
    assert resume_command("a", "b c", research=True) == "dpmix train a --output 'b c' --resume"
    assert resume_command("a", None, research=True) == "dpmix train a --research --resume"
    asked = request(images, "elsewhere/m", epsilon=4.0, synthetic="far/away/d", unit="image", k_base=3)
    assert command(asked) == "dpmix train my-images --epsilon 4 --k-base 3 --synthetic d"


@pytest.mark.parametrize(
    "name", ["-old", "--epsilon", "~", "~me", "a b", "it's", "$HOME", "--", "*", "ü\N{BLACK HEART SUIT}"]
)
def test_a_command_that_is_told_can_be_pasted_whatever_the_folder_is_called(images: Path, name: str) -> None:
    images.rename(name)
    asked = request(f"./{name}", f"./-o{name}", epsilon=4.0, synthetic=f"./{name}-public", key=name, skip_damaged=True)
    train = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    for said in (command(asked), resume_command(Path(f"./{name}"), Path(f"./-o{name}")), resume_command(name, None)):
        dpmix, verb, *words = shlex.split(said)
        assert (dpmix, verb) == ("dpmix", "train")
        given = train.make_context("train", words).params
        assert given["images"] == Path(name)
        again = request(given["images"], None, **{"epsilon": 4.0, "key": given["key"]})
        assert again.images == asked.images
    options = train.make_context("train", shlex.split(command(asked))[2:]).params
    assert (options["epsilon"], options["key"], options["skip_damaged"]) == (4.0, name, True)
    assert options["synthetic"] == Path(f"{name}-public")
    resumed = train.make_context("train", shlex.split(resume_command(name, f"-o{name}"))[2:]).params
    assert (resumed["output"], resumed["resume"]) == (Path(f"-o{name}"), True)
