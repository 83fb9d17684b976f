"""What a wrong value should be, in the words of a person who writes YAML."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from dpmix.wording import counted, should_be


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (int, "x", "should be a whole number, not 'x'"),
        (int, 1.5, "should be a whole number, not 1.5"),
        (float, "x", "should be a number, not 'x'"),
        (bool, "x", "should be true or false, not 'x'"),
        (str, 3, "should be a text, not 3"),
        (tuple[int, ...], 7, "should be a list, not 7; write [7]"),
        (float | bool, "x", "should be a number or true or false, not 'x'"),
    ],
)
def test_a_type_has_a_plain_name(kind: Any, value: Any, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    assert should_be(caught.value.errors()) == words


def test_a_word_that_is_near_one_of_those_allowed_is_answered_with_it() -> None:
    error = {"type": "literal_error", "msg": "Input should be 'stream' or 'model'", "input": "steam"}
    assert should_be([error]) == "should be 'stream' or 'model', not 'steam'; did you mean 'stream'?"
    assert should_be([error | {"input": "zzz"}]) == "should be 'stream' or 'model', not 'zzz'"


def test_one_is_singular_and_all_else_plural() -> None:
    assert [counted(number, "run") for number in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]
