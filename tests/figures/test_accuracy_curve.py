"""The curve of accuracy against ε: what is in the picture, and in which range."""

from pathlib import Path

import pytest
from PIL import Image

from dpmix.figures.accuracy_curve import Curve, accuracy_curve

CURVES = (
    Curve("Self-Aug", {1.0: [70.0, 71.0, 70.5], 8.0: [80.0, 80.2, 80.1]}),
    Curve("DP-Mix_Self", {1.0: [71.0, 71.6, 71.5], 8.0: [80.4, 80.2, 80.5]}),
)


def drawn(tmp_path: Path, references: dict[str, list[float]]) -> str:
    """The picture as SVG with its texts as comments."""
    png, svg = accuracy_curve(CURVES, references, "my-images", tmp_path / "accuracy")
    with Image.open(png) as image:
        assert image.width > 900
    return svg.read_text(encoding="utf-8")


def test_methods_references_and_values_of_epsilon_are_named(tmp_path: Path) -> None:
    text = drawn(tmp_path, {"no privacy": [84.2], "clipped, no noise": [81.0, 82.0]})
    for words in ("Self-Aug", "no privacy: 84.2", "clipped, no noise: 81.5", "test accuracy (%)", "95 % intervals"):
        assert f"<!-- {words}" in text or words in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["accuracy.png", "accuracy.svg"]


def test_a_reference_far_below_does_not_squeeze_the_curves(tmp_path: Path) -> None:
    assert "zero-shot: 12.0 (below)" in drawn(tmp_path, {"zero-shot": [12.0]})
    assert "zero-shot: 66.0" in (text := drawn(tmp_path, {"zero-shot": [66.0]}))
    assert "(below)" not in text


def test_bytes_are_the_same_again(tmp_path: Path) -> None:
    first = drawn(tmp_path, {"no privacy": [84.2]})
    assert drawn(tmp_path, {"no privacy": [84.2]}) == first


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    _, svg = accuracy_curve([Curve("Self-Aug", {4.0: [70.0]})], {}, "one", tmp_path / "accuracy")
    assert "intervals" not in svg.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="needs one accuracy or more"):
        accuracy_curve([], {}, "none", tmp_path / "accuracy")
