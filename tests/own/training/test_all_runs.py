"""What several runs on the same images spend: by any door, for images and for persons, in training and in tests."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from dpmix.files import read_json
from dpmix.own.images.place import place_of
from dpmix.own.training import spent, totals
from dpmix.own.training.plan import plan
from dpmix.own.training.train import train
from dpmix.privacy.accounting import composed_epsilons
from dpmix.release.statement import read_statement
from tests.own.drawn import by_person, draw
from tests.own.training.test_train import END, SETTINGS, SIGNAL, SIZES, SPENT, STEP, VIEWS
from tests.own.training.test_train import WORK as _WORK
from tests.own.training.test_unfinished_runs import WORK, stopped

__all__ = ["stopped"]

pytestmark = pytest.mark.filterwarnings("ignore")


def together(folder: str) -> dict[str, Any]:
    found = read_json(Path(folder, "privacy.json"))["together"]
    assert isinstance(found, dict)
    return found


def joint(*folders: str) -> float:
    """ε of models together, from what their files say."""
    rows = [row for name in folders for row in read_statement(Path(name, "model.safetensors")).mechanism]
    return composed_epsilons(rows, delta=1e-5)["pld"]


def test_models_of_the_other_unit_and_research_are_said_not_to_be_counted(images: Path, tiny: dict[str, Any]) -> None:
    people = by_person(Path("people"), images)
    train(people, epsilon=4, unit="person", output="persons", **tiny)
    train(people, epsilon=4, research=True, output="research", **tiny)
    train(people, epsilon=4, output="by-image", **tiny)
    train(people, epsilon=2, unit="person", output="more-persons", **tiny)
    found = {name: together(name) for name in ("persons", "by-image", "more-persons")}
    counts = {name: [one[key] for key in ("models", "other_unit", "research")] for name, one in found.items()}
    assert counts == {"persons": [1, 0, 0], "by-image": [1, 1, 1], "more-persons": [2, 1, 1]}
    assert found["by-image"]["epsilon"] == pytest.approx(joint("by-image"), abs=1e-3)
    assert found["more-persons"]["epsilon"] == pytest.approx(joint("persons", "more-persons"), abs=1e-3)
    card = Path("by-image", "README.md").read_text(encoding="utf-8")
    assert (
        "| not counted | 1 model that protects one person and 1 research run of the same images: no ε here counts what "
        "they reveal |"
    ) in card
    assert "not counted" not in Path("persons", "README.md").read_text(encoding="utf-8")


def test_a_record_that_a_renamed_folder_left_behind_is_told_of_and_counts_if_it_is_named(
    images: Path, tiny: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    train(images, epsilon=4, output="first", **tiny)
    left = place_of(images)
    here = left.with_name("another.dpmix-spent.json")  # of a folder that is there: nobody else's
    here.with_name("another").mkdir()
    shutil.copy(left, here)
    renamed = images.rename(images.with_name("renamed"))
    for ask in (lambda: plan(renamed, epsilon=4, **tiny), lambda: train(renamed, epsilon=4, output="second", **tiny)):
        capsys.readouterr()
        ask()
        (line,) = [one for one in capsys.readouterr().err.splitlines() if "not there any more" in one]
        assert line.startswith(f"{left.name} is of images that are not there any more, and not counted")
    (ledger,) = re.findall(r"--ledger (\S+) with", line)
    train(renamed, epsilon=4, output="third", ledger=ledger, **tiny)
    assert "not there any more" not in capsys.readouterr().err
    assert together("third")["models"] == 3
    assert together("third")["epsilon"] == pytest.approx(joint("first", "second", "third"), abs=1e-3)


def test_what_accuracies_spend_on_test_images_adds_up_and_is_told_before(
    images: Path, tiny: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    train(images, epsilon=4, output="first", evaluate_epsilon=1.5, **tiny)
    assert "test images: ε" not in capsys.readouterr().err
    said = "spent so far on the test images: ε = 1.50 (1 released accuracy); together with this one ε = 2.00"
    planned = plan(images, epsilon=4, evaluate_epsilon=0.5, **tiny)
    assert planned.spent_on_tests == said
    assert planned.lines()[-1] == said
    train(images, epsilon=4, output="second", evaluate_epsilon=0.5, **tiny)
    lines = capsys.readouterr().err.splitlines()
    (at,) = (number for number, line in enumerate(lines) if line == said)
    (end,) = (number for number, line in enumerate(lines) if line.startswith("accuracy "))
    assert at < end
    assert together("first")["test_epsilon"] == 1.5
    assert together("second")["test_epsilon"] == 2
    assert "accuracies of this and earlier models together ε = 2." in Path("second/README.md").read_text("utf-8")
    # A model that releases none says what the others have spent.
    train(images, epsilon=4, output="third", **tiny)
    assert together("third")["test_epsilon"] == 2
    assert read_json(Path("third", "privacy.json"))["evaluation"] is None
    assert "the test images: ε = 2.00 (2 released accuracies)\n" in capsys.readouterr().err
    not_covered = read_json(Path("third", "privacy.json"))["not_covered"]
    public = "ames of classes, N, the number of test images and settings are taken as public"
    assert f"n{public}" in not_covered
    assert f"- N{public}." in Path("third/README.md").read_text("utf-8")


def linked(folder: Path, images: Path) -> Path:
    """A folder of links to all images."""
    for path in sorted(images.rglob("*.png")):
        link = folder / path.parent.name / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.absolute())
    return folder


@pytest.mark.parametrize("links_first", [True, False])
def test_runs_on_links_and_on_what_they_lead_to_are_on_the_same_images(
    images: Path, tiny: dict[str, Any], capsys: pytest.CaptureFixture[str], links_first: bool
) -> None:
    doors = [linked(Path("links"), images), images]
    first, second = doors if links_first else doors[::-1]
    train(first, epsilon=4, output="first", **tiny)
    before = plan(second, epsilon=4, **tiny).spent
    capsys.readouterr()
    train(second, epsilon=4, output="second", **tiny)
    # By links to the same images elsewhere, all of it is found as well.
    after = plan(linked(Path("more-links"), images), epsilon=4, **tiny).spent
    assert f"{before}; together with this one ε = " in capsys.readouterr().err
    assert before is not None
    assert before.startswith("spent so far on these images: ε = ")
    assert before.endswith("(1 run)")
    assert after is not None
    assert after.endswith("(2 runs)")
    assert together("second")["models"] == 2
    assert together("second")["epsilon"] == pytest.approx(joint("first", "second"), abs=1e-3)
    records = {path.name: len(spent.Record(path).runs()) for path in Path().glob("*.dpmix-spent.json")}
    assert records == {"my-images.dpmix-spent.json": 2, "links.dpmix-spent.json": 1}


def test_one_that_was_stopped_and_deleted_counts_with_the_steps_that_it_executed(
    stopped: Path, images: Path, tiny: dict[str, Any]
) -> None:
    """In the record and in what a later model says, whose work folder has the same name."""
    assert stopped == WORK
    record = spent.Record(Path("my-images.dpmix-spent.json"))
    (killed,) = record.runs()
    assert killed.counted == killed.planned > killed.steps >= 7
    shutil.rmtree(stopped)
    (killed,) = record.runs()
    assert killed.counted == killed.steps
    made = train(images, epsilon=4, **tiny)
    found = totals.together(record.runs(), "image")[0]["pld"]
    (row,) = read_statement(made / "model.safetensors").mechanism
    expected = composed_epsilons([row, row._replace(steps=killed.steps)], delta=1e-5)["pld"]
    assert found == pytest.approx(expected, rel=1e-3)
    assert together(str(made))["epsilon"] == pytest.approx(expected, abs=1e-3)
    assert together(str(made))["models"] == 2


def test_the_screen_of_a_release_for_persons_shows_no_more(
    images: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbers of images, which are not public then, least of all."""
    for module in ("dpmix.own.training.following", "dpmix.progress"):
        monkeypatch.setattr(f"{module}._EVERY_SECONDS", 0.0)
    people = by_person(Path("people"), images)
    for output in ("one", "two"):
        train(people, epsilon=4, unit="person", output=output, skip_damaged=True, **tiny)
    of_persons = [
        re.sub("(training|test|one) image", r"\1 person", kind) for kind in (SIZES, SIGNAL, SETTINGS, VIEWS, STEP, END)
    ]
    shares = r"[a-z][\w ,./-]*: \d+ % in \d+ s(, about \d+ s left)?"
    no_images = _WORK.replace(r"\w+ in", r"(?!image)\w+ in")
    said = re.compile("|".join((*of_persons, SPENT, shares, no_images)))
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if not said.fullmatch(line)] == []
    assert sum(bool(re.fullmatch(shares, line)) for line in lines) > 10
    assert sum(bool(re.fullmatch(STEP, line)) for line in lines) > 3
    for what in ("looking for damaged images: ", "decoding people, train: ", "decoding people, test: "):
        assert any(re.match(rf"{what}\d+ % in \d+ s", line) for line in lines), what


@pytest.mark.parametrize("evaluate_epsilon", [None, 0.5])
def test_other_pixels_change_nothing_but_the_weights_and_an_accuracy_that_was_paid_for(
    images: Path, tiny: dict[str, Any], evaluate_epsilon: float | None
) -> None:
    tiny["evaluate_epsilon"] = evaluate_epsilon
    first = train(images, epsilon=4, **tiny)
    shutil.rmtree(images)
    Path("my-images.dpmix-spent.json").unlink()
    shutil.copytree(draw(Path("others"), 50, seed=7), images)
    first = first.rename("first")
    second = train(images, epsilon=4, **tiny)
    before, after = (
        {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        for folder in (first, second)
    )
    assert before.keys() == after.keys()
    changed = {name for name in before if before[name] != after[name]}
    assert changed - ({"README.md"} if evaluate_epsilon else set()) == {"model.safetensors", "privacy.json"}
    said, new = (read_json(folder / "privacy.json") for folder in (first, second))
    assert said["model"].pop("sha256") != new["model"].pop("sha256")
    for one in (said, new):  # drawn for each run
        assert re.fullmatch(r"seed \d+, public", one["randomness"].pop("initial_weights_and_views"))
        if evaluate_epsilon is not None:
            assert one["evaluation"].pop("accuracy") >= 0
    assert said == new
