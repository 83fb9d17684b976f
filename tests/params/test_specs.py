"""Data sets and sources of D that cannot be are one line; D may be images that are given."""

from typing import Any

import pytest

from dpmix.artefacts.data import ImageStore
from dpmix.catalogue.catalogue import Catalogue
from dpmix.params.read import parse
from dpmix.params.specs import GivenImagesSpec
from tests.params.mistakes import Raw, message, put


def test_d_may_be_images_that_are_given(raw: Raw) -> None:
    put(raw, "diffusion/tiny-diffusion", {"images": "some.zip"})
    assert parse(raw).diffusion["tiny-diffusion"] == GivenImagesSpec(name="tiny-diffusion", images="some.zip")
    Catalogue(parse(raw), "demo")


def test_given_images_have_no_settings_of_a_model(raw: Raw) -> None:
    put(raw, "diffusion/tiny-diffusion/images", "some.zip")
    assert message(raw) == (
        "params.yaml: diffusion.tiny-diffusion: it has both model and images; say where D is from by either, and "
        "remove the other"
    )


def test_a_typo_in_a_text_to_image_model_is_still_named(raw: Raw) -> None:
    put(raw, "diffusion/tiny-diffusion/guidance", 2.0)
    line = message(raw)
    assert line == "params.yaml: diffusion.tiny-diffusion.guidance: unknown key; did you mean 'guidance_scale'?"


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("datasets/digits-300/parent", "digits-300", "digits-300 is itself a part of digits-300"),
        ("datasets/digits/train", None, "its size is missing; add train, the published number of training images"),
        ("datasets/digits/source", "folder", "a folder data set needs `path`"),
        ("datasets/digits/drawn_from", 1437, "drawn_from is for a folder data set, and its source is scikit-learn"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(raw: Raw, place: str, value: Any, words: str) -> None:
    assert words in message(put(raw, place, value))


def test_a_data_set_may_publish_how_many_persons_it_has_and_not_how_many_images(raw: Raw) -> None:
    digits = parse(raw).datasets["digits"]
    assert digits.records == digits.train == 1437
    put(raw, "datasets/digits", {**raw["datasets"]["digits"], "train": None, "persons": 144})
    assert parse(raw).datasets["digits"].records == 144


def test_a_part_of_a_folder_is_another_data_set_and_no_larger_than_the_whole(raw: Raw) -> None:
    folder = {**raw["datasets"]["digits"], "source": "folder", "path": "digits", "train": 300}
    put(raw, "datasets/digits", folder)
    plain = parse(raw).datasets["digits"]
    put(raw, "datasets/digits", {**folder, "drawn_from": 1437})
    part = parse(raw).datasets["digits"]
    assert ImageStore(dataset=part, resolution=8).hash != ImageStore(dataset=plain, resolution=8).hash
    put(raw, "datasets/digits", {**folder, "drawn_from": 200})
    assert "drawn_from is the number of training images that `train` of them are drawn from" in message(raw)
