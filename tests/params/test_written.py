"""A number of the params is a number, and where a text is wanted the text that was written."""

import copy
import json
import pickle

import pytest

from dpmix.params.declared import Spec
from dpmix.params.written import WrittenFloat, WrittenInt


class Entry(Spec):
    name: str
    size: float


@pytest.mark.parametrize(
    "number", [WrittenInt(16, "0x10"), WrittenFloat(0.5, "0.50"), WrittenInt(7), WrittenFloat(0.1)]
)
def test_it_is_a_number_that_keeps_its_text(number: WrittenInt | WrittenFloat) -> None:
    for one in (number, copy.deepcopy(number), pickle.loads(pickle.dumps(number))):
        assert one == number
        assert str(one) == number.written
        assert json.dumps(one) == repr(one) == repr(number)


def test_a_class_of_the_params_takes_either_and_keeps_neither() -> None:
    entry = Entry.model_validate({"name": WrittenFloat(0.5, "0.50"), "size": WrittenInt(16, "0x10")})
    assert entry == Entry(name="0.50", size=16.0)
    assert (type(entry.name), type(entry.size)) == (str, float)
    assert str(entry.size) == "16.0"


@pytest.mark.parametrize(
    ("text", "doubt"), [("010", True), ("-07", True), ("0_1", True), ("0", False), ("0x10", False)]
)
def test_a_number_that_begins_with_0_is_in_doubt(text: str, doubt: bool) -> None:
    assert WrittenInt(1, text).in_doubt is doubt
