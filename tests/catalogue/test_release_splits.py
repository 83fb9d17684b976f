"""A release on images without given training and test folders is refused at every door before anything is decoded."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.release_splits import refuse_drawn_splits
from dpmix.cli.app import app
from dpmix.errors import PrivacyError
from dpmix.params.read import parse
from tests.own.drawn import draw
from tests.test_build import params, world
from tests.workflow.test_workflow import Clone, new_clone

LINE = (
    "mine: mine has no folders train and test, so that which images are trained on was drawn by the classes and places "
    "of all, which ε does not cover; lay the images into train/ and test/, for a release"
)


def release() -> dict[str, Any]:
    said = params()
    scale = said["scales"]["demo"]
    scale["finetune"] |= {"learning_rate": 1, "release": True}
    scale["seeds"] = [1]
    del scale["tables"]["12"]["ladder"]
    return said


@pytest.fixture
def clone(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    """With a release on images that lie in folders of classes alone."""
    made = new_clone(tmp_path / "clone", repository)
    world(made.folder)
    monkeypatch.chdir(made.folder)
    shutil.rmtree("mine")
    draw(Path("mine"), 22, 1, classes=2, size=(16, 16))
    Path("params.yaml").write_text(yaml.safe_dump(release()), encoding="utf-8")
    return made


def test_every_door_says_the_same_line_before_anything_is_made_and_its_remedy_works(clone: Clone) -> None:
    with pytest.raises(PrivacyError) as caught:
        refuse_drawn_splits(Catalogue(parse(release())))
    assert str(caught.value) == LINE
    verbs = (["check", "--params", "params.yaml"], ["plan"])
    for words in verbs:
        with pytest.raises(PrivacyError, match=re.escape(LINE)):
            CliRunner().invoke(app, words, catch_exceptions=False)
    assert clone("--dry-run", "table12", fails=True) == f"error: {LINE}\n"
    assert not Path("data").exists()
    for image in sorted(Path("mine").rglob("*.png")):
        split = "train" if int(image.stem) < 16 else "test"
        (Path("mine") / split / image.parent.name).mkdir(parents=True, exist_ok=True)
        image.rename(Path("mine") / split / image.parent.name / image.name)
    for one in list(Path("mine").iterdir()):
        if one.name not in ("train", "test"):
            one.rmdir()
    for words in verbs:
        assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    assert "run-eye" in clone("--dry-run", "table12")


def test_images_that_are_elsewhere_and_runs_for_research_are_passed_over(clone: Clone) -> None:
    refuse_drawn_splits(Catalogue(parse(params())))
    shutil.rmtree("mine")
    refuse_drawn_splits(Catalogue(parse(release())))
    assert not Path("data").exists()
