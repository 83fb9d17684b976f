import shlex
from pathlib import Path

import pytest
import typer

from dpmix.cli.app import app
from dpmix.own.choices.commands import command, resume_command
from dpmix.own.choices.request import request


def test_the_commands_that_are_told(images: Path) -> None:
    assert resume_command("my images", None) == "dpmix train 'my images' --resume"
    assert resume_command("a", "b c", research=True) == "dpmix train a --output 'b c' --resume"
    assert resume_command("a", None, research=True) == "dpmix train a --research --resume"
    asked = request(images, "elsewhere/m", epsilon=4.0, synthetic="far/away/d", unit="image", k_base=3)
    assert command(asked) == "dpmix train my-images --epsilon 4 --k-base 3 --synthetic d"


@pytest.mark.parametrize("written", ["far/away/eye", "{here}/far/away/eye", "~/eye", "{here}/far/away/gone/"])
def test_no_place_is_in_a_command(images: Path, written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies at a place, also while another folder is the working directory, as a run's is."""
    here = Path.cwd()
    monkeypatch.setenv("HOME", str(here / "far" / "away"))
    for folder in ("far/away/eye", "far/away/d", "elsewhere"):
        Path(folder).mkdir(parents=True)
    options = {"encoder": written.format(here=here), "synthetic": "far/away/d", "ledger": "far/away/spent.json"}
    asked = request(images, "elsewhere/m", epsilon=4.0, **options)
    monkeypatch.chdir("elsewhere")
    name = "gone" if "gone" in written else "eye"
    assert command(asked) == f"dpmix train my-images --epsilon 4 --encoder {name} --synthetic d"


def test_a_public_encoder_keeps_its_name(images: Path) -> None:
    asked = request(images, None, epsilon=4.0, encoder="ViT-B-16/openai")
    assert command(asked) == "dpmix train my-images --epsilon 4 --encoder ViT-B-16/openai"


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
