"""Seeds, settings and sizes of a scale that cannot be are one line."""

from typing import Any

import pytest

from tests.params.mistakes import Raw, message, put


def test_an_unknown_transform_is_named(raw: Raw) -> None:
    assert message(put(raw, "scales/demo/finetune/transforms", ["corp"])).endswith("'corp'; did you mean 'crop'?")


@pytest.mark.parametrize(
    ("place", "size", "words"),
    [
        ("scales/demo/scratch/batch_size", 1438, "exceeds the 1437 training images"),
        ("scales/paper/finetune/batch_size", 50_000, "exceeds the 45000 images that the tuning run trains on"),
        ("scales/demo/datasets/digits-300/batch_size", 301, "exceeds the "),
    ],
)
def test_a_batch_is_no_larger_than_the_data(raw: Raw, place: str, size: int, words: str) -> None:
    line = message(put(raw, place, size))
    assert f"batch_size {size} {words}" in line
    assert line.endswith("lower it")


def test_no_more_synthetic_images_are_drawn_than_there_are(raw: Raw) -> None:
    line = message(put(raw, "scales/demo/synthetic_size", {"digits": 1}))
    assert "k_diff 2 exceeds the 1 images to draw from" in line


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("scales/demo/finetune/batch_size", 1.5, "batch_size: should be a whole number, not 1.5"),
        ("scales/demo/finetune/epochs", float("inf"), "epochs: should be a finite number, not inf"),
        ("scales/demo/finetune/delta", 1, "delta: should be less than 1, not 1"),
        ("scales/demo/finetune/accountant", "rpd", "should be 'rdp', 'prv' or 'pld', not 'rpd'; did you mean 'rdp'?"),
        ("scales/demo/finetune/epochs", 0, "epochs: should be greater than 0, not 0"),
        ("scales/demo/seeds", [], "seeds: should have at least one entry"),
        ("scales/demo/seeds", [1, 1], "seeds: a seed is listed twice"),
        ("scales/demo/seeds", [-1], "seeds.0: should be greater than or equal to 0, not -1"),
        ("scales/demo/seeds", [-1, 1, -2], "seeds.0: should be greater than or equal to 0, not -1 (and 1 more)"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(raw: Raw, place: str, value: Any, words: str) -> None:
    assert words in message(put(raw, place, value))
