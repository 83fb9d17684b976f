"""A model's folder measured on images in class folders, and what is written of it."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpmix.data.listing import read_listing
from dpmix.errors import DataError, ParamsError
from dpmix.own.model.model_folder import ModelFolder
from dpmix.own.training.train import train
from dpmix.own.use.evaluate import evaluate
from dpmix.own.use.predict import predict
from dpmix.seals import read_record
from tests.own.folders import write_images

pytestmark = pytest.mark.filterwarnings("ignore")


def both_splits() -> Path:
    write_images(Path("my-images", "train"), 8, seed=5)
    write_images(Path("my-images", "test"), 24, seed=6)
    return Path("my-images")


def test_it_counts_what_predict_says(model: ModelFolder) -> None:
    images = both_splits()
    found = evaluate(model.path, images, device="cpu")
    said = predict(model.path, images / "test", device="cpu").found
    right = [one.label == Path(one.image).parent.name for one in said]
    values = read_record(found.path / "metrics.json")
    assert found.path == Path("my-images-evaluation")
    assert values == found.measures
    assert (values["images"], values["split"]) == (24, "test")
    assert values["accuracy"] == pytest.approx(np.mean(right))
    assert "test images without noise" in values["reads"]
    with (found.path / "confusion.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0][1:] == list(model.classes)
    counts = np.array([row[1:] for row in rows[1:]], dtype=int)
    assert counts.sum(axis=1).tolist() == [6, 6, 6, 6]
    assert np.trace(counts) == sum(right)
    assert sorted(path.name for path in found.path.iterdir()) == [
        "confusion.csv", "confusion.png", "metrics.json", "per-class.csv", "reliability.csv", "reliability.png",
    ]  # fmt: skip


def test_training_images_are_read_only_if_asked_for_and_that_is_said(model: ModelFolder) -> None:
    both_splits()
    assert evaluate(model.path, "my-images", device="cpu").measures["images"] == 24
    train = evaluate(model.path, "my-images", split="train", output="on-train", device="cpu").measures
    assert train["images"] == 8
    assert "images that the model was trained on" in train["reads"]
    assert evaluate(model.path, "my-images", split="all", output="on-all", device="cpu").measures["images"] == 32


def test_an_unreadable_image_is_named_and_not_counted(model: ModelFolder) -> None:
    images = both_splits()
    victim = images / "test" / "class 0" / "000.png"
    victim.write_bytes(b"no image")
    found = evaluate(model.path, images, device="cpu")
    assert found.measures["images"] == 23
    assert [one.image for one in found.unreadable] == ["test/class 0/000.png"]
    assert found.measures["per_class"][0]["images"] == 5


def test_images_of_some_classes_only_are_measured_as_what_they_are(model: ModelFolder) -> None:
    """The model numbers its classes otherwise than a folder that lacks the first of them."""
    images = both_splits()
    for split in ("train", "test"):
        shutil.rmtree(images / split / "class 0")
    said = predict(model.path, images / "test", device="cpu").found
    right = [one.label == Path(one.image).parent.name for one in said]
    values = evaluate(model.path, images, device="cpu").measures
    assert (values["images"], values["accuracy"]) == (18, pytest.approx(np.mean(right)))
    assert np.sum(values["confusion"], axis=1).tolist() == [0, 6, 6, 6]


def test_what_cannot_be_measured_is_one_line_and_nothing_is_written(model: ModelFolder) -> None:
    images = both_splits()
    write_images(Path("only", "train"), 4)
    (images / "test" / "class 3").rename(images / "test" / "class 4")
    (images / "train" / "class 3").rename(images / "train" / "class 4")
    before = sorted(path.name for path in Path().iterdir())
    with pytest.raises(DataError, match=r"knows no class class 4; did you mean 'class 3'\?"):
        evaluate(model.path, images)
    with pytest.raises(ParamsError, match=r"unknown split 'tset'; did you mean 'test'\?"):
        evaluate(model.path, images, split="tset")
    with pytest.raises(ParamsError, match="lies in the model's folder, which is handed out"):
        evaluate(model.path, images, output=model.path / "evaluation")
    with pytest.raises(DataError, match="gone"):
        evaluate(model.path, "gone")
    assert sorted(path.name for path in Path().iterdir()) == before


def test_the_test_images_are_those_that_training_left_out(images: Path, quick: dict[str, Any]) -> None:
    """With a key and a share of one's own; by the usual ones others would be."""
    drawn = {"test_share": 0.4, "key": "mine"}
    folder = train(images, epsilon=8, **drawn, **quick)
    left_out = len(read_listing(images, **drawn).of("test"))
    assert left_out != len(read_listing(images).of("test"))
    assert evaluate(folder, images, device="cpu").measures["images"] == left_out


def test_nothing_but_an_evaluation_is_replaced(model: ModelFolder) -> None:
    images = both_splits()
    evaluate(model.path, images, output="there", device="cpu")
    evaluate(model.path, images, output="there", device="cpu")
    Path("there", "thesis.tex").touch()
    with pytest.raises(DataError, match="has other things than an evaluation and is not replaced"):
        evaluate(model.path, images, output="there", device="cpu")
    for place in (images, images / "test" / "new"):
        with pytest.raises(ParamsError, match="would lie among the images"):
            evaluate(model.path, images, output=place, device="cpu")
    assert Path("there", "thesis.tex").exists()
