"""`compare`: runs on one stream with rates by the rule, the table, its words, and mistakes in one line."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from dpmix.data.listing import read_listing
from dpmix.errors import DataError, DpmixError, ParamsError
from dpmix.own.research.compare import compare
from tests.own.drawn import draw
from tests.own.research.comparisons import compared

pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_table_a_curve_and_words_are_written(
    images: Path, small: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    made = compare(images, epsilon=[8, 1], seeds=2, **small)
    assert made == Path("my-images-comparison")
    stems = {f"table_comparison.{kind}" for kind in ("csv", "json", "md", "tex")}
    assert {path.name for path in made.iterdir()} == {"README.md", "accuracy.png", "accuracy.svg"} | stems
    # Nothing else is left: no decoded image, no record of spent ε.
    assert sorted(path.name for path in Path().iterdir()) == ["my-images", "my-images-comparison"]
    text = (made / "README.md").read_text(encoding="utf-8")
    assert text.split("\n\n")[1].startswith("> **Research, not for release.**")
    cells = json.loads((made / "table_comparison.json").read_text(encoding="utf-8"))["cells"]
    values = {(cell["row"][0], cell["column"][0]): cell["values"] for cell in cells}
    assert len(values["DP-Mix_Self", "ε = 1"]) == 2
    mixed, plain = values["DP-Mix_Self", "ε = 8"], values["Self-Aug", "ε = 8"]
    difference = sum(one - other for one, other in zip(mixed, plain, strict=True)) / 2
    said = re.search(r"- DP-Mix_Self minus Self-Aug, .*ε = 8: ([−+.\d]+|the same)", text)
    assert said is not None
    shown = 0.0 if said[1] == "the same" else float(said[1].replace("−", "-"))
    assert shown == pytest.approx(difference, abs=0.051)
    assert "| clipped, no noise |" in text
    assert "| no privacy |" in text
    assert "research, not for release" in capsys.readouterr().err


def test_persons_public_images_and_chosen_rates_go_together(
    images: Path, small: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for number, path in enumerate(sorted(images.rglob("*.png"))):
        place = Path("people", path.parent.name, f"p{number % 50}", path.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    draw(Path("public"), 12, seed=9)
    made = compare(
        "people", epsilon=[1, 8], seeds=1, unit="person", tune=True, synthetic="public", skip_damaged=True, **small
    )
    text = (made / "README.md").read_text(encoding="utf-8")
    persons = len(read_listing("people", persons=True).persons("train"))
    assert f"people: N = {persons} persons to train on, " in text
    assert "Views of each person (transformed + mixed + public): Self-Aug 2 + 0 + 0; DP-Mix_Self 2 + 2 + 0; " in text
    assert "Clip norm 1, one seed." in text
    (command,) = re.findall(r"`dpmix (train people .*)`", " ".join(text.replace("> ", "").split()))
    words = command.split()
    assert words[words.index("--unit") + 1] == "person"
    assert words[words.index("--synthetic") + 1] == "public"
    assert "--skip-damaged" in words
    assert "--research" not in words
    # A rate of each method at each ε, of the grid; of the reference without noise that of its method alone.
    head, _, *rows = text.partition("## How\n")[2].split("\n\n")[1].splitlines()
    assert head.count("learning rate of ") == 3
    chosen = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[0] for row in chosen] == ["1", "8", "∞"]
    rates = [float(rate) for row in chosen for rate in row[4:] if rate]
    assert len(rates) == 3 + 3 + 1
    assert {math.log2(rate) for rate in rates} <= set(range(-4, 9))
    assert "The paper has" not in text
    assert "\n## Methods on people\n" in text
    told = capsys.readouterr().err
    assert "3 methods × 2 values of ε × 1 seed, and" in told
    assert "metrics.json" not in told
    picture = (made / "accuracy.svg").read_text(encoding="utf-8")
    assert [label in picture for label in ("no privacy: ", "clipped, no noise: ", "zero-shot: ")] == [True] * 3


def test_other_images_have_another_manifest(images: Path, small: dict[str, Any]) -> None:
    first = compared(small).first.dataset.path
    (images / "blood" / "0.png").unlink()
    second = compared(small).first.dataset.path
    assert first != second
    assert {path.name for path in Path().glob("manifest-*.csv")} == {first, second}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"epsilon": [0]}, ParamsError, "epsilon 0 is not above 0"),
        ({"epsilon": [float("inf")]}, ParamsError, "epsilon inf is not above 0 and at most 100"),
        ({"seeds": 0}, ParamsError, "seeds 0 is below 1"),
        ({"methods": ["dp-mixself"]}, ParamsError, "did you mean 'dp-mix-self'"),
        ({"methods": ["self-aug", "self-aug"]}, ParamsError, "name each once"),
        ({"methods": ["dp-mix-diff"]}, ParamsError, "`synthetic='FOLDER'`"),
        ({"output": "my-images/there"}, ParamsError, "would lie among the images"),
        ({"batch_size": 1000}, ParamsError, "batch_size 1000 exceeds the"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    options: dict[str, Any], error: type[DpmixError], words: str, images: Path, small: dict[str, Any]
) -> None:
    with pytest.raises(error, match=re.escape(words)) as caught:
        compare(images, **{**small, **options})
    assert len(str(caught.value).splitlines()) == 1
    assert [path.name for path in Path().iterdir()] == ["my-images"]


def test_an_image_that_cannot_be_read_ends_it_before_it_began(images: Path, small: dict[str, Any]) -> None:
    (images / "blood" / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"blood/0\.png .*; replace or remove it, or leave out by `skip_damaged=True`$"):
        compare(images, **small)
    assert [path.name for path in Path().iterdir()] == ["my-images"]


def test_one_that_was_stopped_goes_on_by_the_same_call(
    images: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {name: value for name, value in tiny.items() if name not in ("method", "k_base")}
    options |= {"epsilon": [4], "seeds": 1, "methods": ["self-aug"]}

    def interrupt(*_: Any) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dpmix.own.research.reference.logistic_regression", interrupt)
        with pytest.raises(KeyboardInterrupt):
            compare(images, **options)
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == "stopped; what is made stays in my-images-comparison.work, and the same command goes on with it"
    runs = {path: path.read_bytes() for path in Path("my-images-comparison.work/results").rglob("metrics.json")}
    assert len(runs) == 2
    with monkeypatch.context() as patch:
        patch.setattr("dpmix.training.runner.make", interrupt)  # nothing is trained again
        made = compare(images, **options)
    assert {path.name for path in made.iterdir()} > {"README.md", "accuracy.png"}
    assert sorted(path.name for path in Path().iterdir()) == ["my-images", "my-images-comparison"]


def test_a_folder_that_is_there_is_not_overwritten(images: Path, small: dict[str, Any]) -> None:
    Path("my-images-comparison").mkdir()
    with pytest.raises(DataError, match=r"my-images-comparison exists and is not overwritten; .*: `output='FOLDER'`$"):
        compare(images, **small)
