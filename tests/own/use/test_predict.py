"""Predictions in Python, and as files of each format."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors import safe_open

from dpmix.errors import DataError, DpmixError, ParamsError
from dpmix.files import write_json
from dpmix.own.model.model_folder import ModelFolder
from dpmix.own.use import predict as own
from dpmix.own.use.predict import Prediction, format_of, predict
from dpmix.release.model import classify
from dpmix.seals import save_tensors
from tests import needs
from tests.own.folders import write_images

pytestmark = pytest.mark.filterwarnings("ignore")

FOUND = [
    Prediction("a, b.png", (("hen", 0.75), ("cock", 0.25))),
    Prediction("é.png", (("cock", 0.5), ("hen", 0.5))),
]


def test_it_says_what_the_released_model_says(model: ModelFolder, tmp_path: Path) -> None:
    files = write_images(tmp_path / "images")
    found, unreadable, skipped = predict(model.path, tmp_path / "images", top_k=9, batch_size=5, device="cpu")
    assert (unreadable, skipped) == ([], [])
    expected = list(classify(model.load(), files, batch=5))
    assert [one.image for one in found] == [str(file) for file in files]
    assert [one.label for one in found] == [name for name, _ in expected]
    assert [one.probability for one in found] == pytest.approx([value for _, value in expected], abs=1e-6)
    assert len({one.label for one in found}) > 1
    for one in found:
        assert {name for name, _ in one.top} == set(model.classes)
        values = [value for _, value in one.top]
        assert values == sorted(values, reverse=True)
        assert sum(values) == pytest.approx(1, abs=1e-6)
    (alone,) = predict(model.path, files[0], top_k=2, device="cpu").found
    assert [name for name, _ in alone.top] == [name for name, _ in found[0].top[:2]]


def test_names_of_classes_need_no_order(model: ModelFolder, tmp_path: Path) -> None:
    """Of a model whose classes are not in the order of the alphabet, as those of a published data set may be."""
    write_images(tmp_path / "images")
    before = predict(model.path, tmp_path / "images", top_k=4, device="cpu").found
    other = dict(zip(model.classes, ("yak", "ape", "zebra", "bee"), strict=True))
    with safe_open(model.model, framework="pt") as file:
        said, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_tensors(model.model, weights, {**said, "classes": json.dumps(list(other.values()))})
    write_json(model.path / "config.json", {**model.config, "label_names": list(other.values())})
    after = predict(model.path, tmp_path / "images", top_k=4, device="cpu").found
    assert [one.top for one in after] == [
        tuple((other[name], value) for name, value in one.top) for one in before
    ]  # fmt: skip


def test_a_damaged_file_is_named_and_the_others_are_classified(model: ModelFolder, tmp_path: Path) -> None:
    files = write_images(tmp_path / "images", 4)
    files[1].write_bytes(b"no image")
    found, unreadable, _ = predict(model.path, files, device="cpu")
    assert [one.image for one in found] == [str(file) for file in (files[0], *files[2:])]
    ((place, why),) = unreadable
    assert place == str(files[1])
    assert "cannot be read as an image" in why
    assert len(why.splitlines()) == 1


def test_images_of_any_kind_and_size(model: ModelFolder, tmp_path: Path) -> None:
    for number, mode in enumerate(("L", "RGBA", "P", "CMYK", "1", "LA")):
        Image.new(mode, (7 + number, 31)).save(tmp_path / f"{number}.{'jpg' if mode == 'CMYK' else 'png'}")
    Image.fromarray(np.full((9, 9), 40_000, dtype=np.uint16)).save(tmp_path / "deep.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    assert len(predict(model.path, sorted(tmp_path.glob("*.*g")), device="cpu").found) == 8


def test_litter_is_passed_over_and_archives_are_read(model: ModelFolder, tmp_path: Path) -> None:
    files = write_images(tmp_path / "images", 4)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for file in files:
            archive.write(file, file.relative_to(tmp_path / "images"))
    (tmp_path / "images" / ".DS_Store").write_bytes(b"1")
    (tmp_path / "images" / "notes.txt").write_text("no image")
    found, unreadable, skipped = predict(model.path, tmp_path / "images", device="cpu")
    assert unreadable == []
    assert [Path(one.image).name for one in found] == [file.name for file in files]
    assert [Path(one.place).name for one in skipped] == [".DS_Store", "notes.txt"]
    archived = predict(model.path, tmp_path / "images.zip", device="cpu").found
    assert [one.top for one in archived] == [one.top for one in found]


def test_a_folder_without_images_is_refused(model: ModelFolder, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no image"):
        predict(model.path, tmp_path / "empty")
    with pytest.raises(DataError, match="no image was given"):
        predict(model.path, [])


@pytest.mark.parametrize("name", ["top_k", "batch_size"])
def test_numbers_below_one_are_refused(model: ModelFolder, name: str) -> None:
    with pytest.raises(ParamsError, match=f"{name} 0 is below 1"):
        predict(model.path, "x.png", **{name: 0})


def test_a_missing_image_is_one_line(model: ModelFolder) -> None:
    with pytest.raises(DataError, match=r"gone\.png does not exist"):
        predict(model.path, "gone.png")


def test_csv_has_a_row_for_each_image(tmp_path: Path) -> None:
    own.write(FOUND, tmp_path / "found.csv", "csv")
    table = pd.read_csv(tmp_path / "found.csv")
    assert list(table) == ["image", "label", "probability", "label_2", "probability_2"]
    assert table.to_numpy().tolist() == [["a, b.png", "hen", 0.75, "cock", 0.25], ["é.png", "cock", 0.5, "hen", 0.5]]
    assert own.text([], "csv") == "image,label,probability\n"


def test_json_has_an_entry_for_each_image(tmp_path: Path) -> None:
    own.write(FOUND, tmp_path / "found.json", "json")
    first = json.loads((tmp_path / "found.json").read_text("utf-8"))[0]
    best, second = {"label": "hen", "probability": 0.75}, {"label": "cock", "probability": 0.25}
    assert first == {"image": "a, b.png", "top": [best, second]}
    assert json.loads(own.text([], "json")) == []


def test_parquet_has_the_rows_of_csv(tmp_path: Path) -> None:
    needs.module("pyarrow", needs.PYARROW)
    own.write(FOUND, tmp_path / "found.parquet", "parquet")
    own.write(FOUND, tmp_path / "found.csv", "csv")
    table = pd.read_csv(tmp_path / "found.csv")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "found.parquet"), table, check_dtype=False)


def test_parquet_without_pyarrow_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setitem(__import__("sys").modules, "fastparquet", None)
    with pytest.raises(DpmixError, match=r"Parquet needs pyarrow; pip install pyarrow, or give `format='csv'`$"):
        own.write(FOUND, tmp_path / "found.parquet", "parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "wanted", "kind"),
    [
        (None, None, "csv"),
        (Path("a.JSON"), None, "json"),
        (Path("a.parquet"), None, "parquet"),
        (Path("a.json"), "csv", "csv"),
        (Path("a"), None, "csv"),
    ],
)
def test_the_format_is_that_of_the_option_or_the_suffix(path: Path | None, wanted: str | None, kind: str) -> None:
    assert format_of(path, wanted) == kind


def test_a_format_that_there_is_not_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"unknown format 'jsno'; did you mean 'json'\?"):
        format_of(None, "jsno")
    with pytest.raises(ParamsError, match=r"unknown format 'txt' of a\.txt; there are csv, json, parquet"):
        format_of(Path("a.txt"), None)
