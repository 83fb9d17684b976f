"""What Python gives a verb as a number is one, by one rule for all verbs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dpmix
from dpmix.errors import ParamsError
from dpmix.own.choices.numbers import listed_numbers, whole


def test_whole_numbers() -> None:
    assert [whole("n", one, such_as=3) for one in (3, 3.0, np.int64(3), np.float32(3))] == [3] * 4
    assert type(whole("n", np.int64(3), such_as=3)) is int
    with pytest.raises(ParamsError, match=r"^n 7 is below 8; give 8 or more, such as `n=9`$"):
        whole("n", 7, least=8, such_as=9)
    for value in ("3", True, 3.5, None, float("nan"), float("inf"), 1j):
        with pytest.raises(ParamsError, match=r"^n should be a whole number, not .*; correct it, such as `n=9`$"):
            whole("n", value, such_as=9)


def test_lists_of_numbers() -> None:
    assert listed_numbers("e", (1, np.float64(4)), such_as="[1]") == (1.0, 4.0)
    for value in ("14", ["1"], None, [True], {1, 4}):
        with pytest.raises(
            ParamsError, match=r"^e should be a list of numbers, not .*; correct it, such as `e=\[1\]`$"
        ):
            listed_numbers("e", value, such_as="[1]")
    with pytest.raises(ParamsError, match=r"^e should be a list of numbers, not 4; write `e=\[4\]`$"):
        listed_numbers("e", 4, such_as="[1]")


CALLS: dict[str, Callable[[], Any]] = {
    "epsilon should be a number": lambda: dpmix.train("my-images", epsilon="4"),  # type: ignore[arg-type]
    "batch size should be a whole number": lambda: dpmix.plan("my-images", epsilon=4, batch_size="8"),
    "epsilon should be a list of numbers": lambda: dpmix.compare("my-images", epsilon=4),  # type: ignore[arg-type]
    "methods should be a list of names": lambda: dpmix.compare("my-images", methods="self-aug"),
    "seeds should be a whole number": lambda: dpmix.compare("my-images", seeds="3"),  # type: ignore[arg-type]
    "observations should be a whole number": lambda: dpmix.audit("my-images", epsilon=4, observations="10"),  # type: ignore[arg-type]
    "top_k should be a whole number": lambda: dpmix.predict("model", "my-images", top_k="3"),  # type: ignore[arg-type]
    "batch_size should be a whole number": lambda: dpmix.evaluate("model", "my-images", batch_size="64"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("words", CALLS)
def test_each_verb_refuses_a_text_in_one_line(words: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-images").mkdir()
    with pytest.raises(ParamsError, match=f"^{words}, not ") as caught:
        CALLS[words]()
    assert len(str(caught.value).splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["my-images"]
