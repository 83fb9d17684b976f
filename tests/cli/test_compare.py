"""`dpmix compare`: several values after one option, its help, and mistakes in one line."""

from pathlib import Path

import pytest

from dpmix.cli.compare import _sorted_out
from dpmix.own.research.comparison import METHODS
from tests.cli.test_app import refused


@pytest.mark.parametrize(
    "words", ["my-images 2 4 dp-mix-self", "2 my-images 4 dp-mix-self", "2 4 dp-mix-self my-images"]
)
def test_several_values_may_follow_one_option(words: str) -> None:
    found = _sorted_out(words.split(), [1.0], ["self-aug"], tuple(METHODS))
    assert found == ("my-images", [1.0, 2.0, 4.0], ["self-aug", "dp-mix-self"])
    assert _sorted_out(["4"], None, None, tuple(METHODS)) == ("4", None, None)


def test_a_mistake_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "my-images does not exist; name the folder" in refused(["compare", "my-images"], monkeypatch)
    line = refused(["compare", "my-images", "--methods", "self-aug", "dp-mixself"], monkeypatch)
    assert "dp-mixself is neither an option's value nor the images, which are my-images; did you mean" in line
    assert "no images are named" in refused(["compare", "--epsilon", "1", "4"], monkeypatch)
    assert list(tmp_path.iterdir()) == []
