"""`dpmix check`: what is shown, the exit status, and one line for every mistake."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from dpmix.cli.app import app
from dpmix.errors import DataError, ParamsError
from tests.data.conftest import archive, folder_of, lay


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder_of(tmp_path / "mine" / "train", {"cat": 50, "dog": 50})
    folder_of(tmp_path / "mine" / "test", {"ant": 1, "bee": 1, "cat": 5, "dog": 5})
    for name in ("ant", "bee"):
        (tmp_path / "mine" / "test" / name / "000.png").unlink()
        (tmp_path / "mine" / "test" / name).rmdir()
    return tmp_path / "mine"


def checked(*arguments: object, status: int = 0) -> str:
    shown = CliRunner().invoke(app, ["check", *map(str, arguments)])
    assert shown.exit_code == status, shown.output
    return shown.output


def test_a_sound_folder(root: Path) -> None:
    shown = checked(root)
    assert shown.splitlines()[0].endswith(
        "mine: 100 training images and 10 test images of 2 classes; the split is given."
    )
    assert [line.split() for line in shown.splitlines()[2:5]] == [
        ["class", "train", "test"],
        ["cat", "50", "5"],
        ["dog", "50", "5"],
    ]
    assert "Nothing to mend." in shown
    assert "Nothing left this machine." in shown
    assert "ε does not cover it" in shown


def test_warnings_keep_status_zero_and_litter_is_counted(root: Path) -> None:
    lay(root, "train/cat/Thumbs.db", "train/cat/.DS_Store", "train/notes.txt")
    shown = checked(root)
    assert "Skipped: 2 files that an operating system left there." in shown
    assert (
        "Worth knowing:\n- Skipped, not an image that Pillow reads; convert it if it is one: train/notes.txt" in shown
    )
    assert "Mend before training" not in shown


def test_what_must_be_mended_is_status_one(root: Path, tmp_path: Path) -> None:
    (root / "train" / "cat" / "000.png").write_text("text")
    (root / "test" / "dog" / "000.png").write_text("text")
    shown = checked(root, "--json", tmp_path / "out" / "report.json", status=1)
    assert "Mend before training:\n- 2 images are damaged: train/cat/000.png, test/dog/000.png; replace" in shown
    written = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert {one["place"] for one in written["damaged"]} == {"train/cat/000.png", "test/dog/000.png"}
    assert written["mend"][0] in shown
    assert "Mend" not in checked(root, "--skip-damaged")


def test_pillow_says_nothing_by_itself(root: Path) -> None:
    image = Image.open(root / "train" / "cat" / "001.png").convert("P")
    image.save(root / "train" / "cat" / "001.png", transparency=b"\x01\x02\x03")
    run = subprocess.run([sys.executable, "-m", "dpmix", "check", root], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    assert "Nothing to mend." in run.stdout


def test_of_many_classes_the_rarest_are_shown(tmp_path: Path) -> None:
    lay(
        tmp_path / "mine",
        *(f"train/c{number:03d}/{index}.png" for number in range(300) for index in range(1 + number % 3)),
    )
    lay(tmp_path / "mine", *(f"test/c{number:03d}/1.png" for number in range(300)))
    shown = checked(tmp_path / "mine", "--skip-damaged", status=1)
    assert "and 280 classes with more images" in shown


def test_a_split_is_drawn_and_persons_are_kept_together(tmp_path: Path) -> None:
    images = {
        f"{name}/p{who}/{index}.png": (folder_of(tmp_path / "x", {"x": 1}) / "x" / "000.png").read_bytes() + b"%d" % who
        for name in ("cat", "dog")
        for who in range(20)
        for index in range(2)
    }
    path = archive(tmp_path / "mine.zip", images)
    shown = checked(path, "--unit", "person", "--test-share", "0.5", "--key", "mine", "--no-alike")
    assert "of 2 classes; the split is drawn by the key 'mine', a person being tested on with probability 0.5." in shown
    assert "--unit person" not in shown.split("Worth knowing")[0]


def test_mistakes_are_one_line(root: Path, tmp_path: Path) -> None:
    def refused(*arguments: object) -> Exception | None:
        shown = CliRunner().invoke(app, ["check", *map(str, arguments)])
        assert isinstance(shown.exception, DataError | ParamsError)
        assert "\n" not in str(shown.exception)
        return shown.exception

    assert "does not exist" in str(refused(tmp_path / "nowhere"))
    assert "write --params my.yaml" in str(refused("my.yaml"))
    assert "check one at a time" in str(refused(root, "--params", "my.yaml"))
    assert "no person's folder" in str(refused(root, "--unit", "person"))


def test_without_images_the_params_are_checked(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    assert "table" in checked()
    assert checked("--params", "params.yaml") == checked()
