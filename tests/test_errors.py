"""Errors name what is wrong, the file, and what to write instead, in one line."""

import pytest

from dpmix.errors import DataError, ParamsError, known, naming, one_line, suggestion


def test_the_closest_name_is_suggested_or_all_are_listed() -> None:
    assert known("a", {"a": 1}, "letter") == "a"
    assert suggestion("digit", ["digits", "sun397"]) == "did you mean 'digits'?"
    assert suggestion("zzz", ["digits", "sun397"]) == "there are digits, sun397"
    assert suggestion("zzz", []) == "there are none"


def test_a_name_that_is_not_known_is_one_line() -> None:
    with pytest.raises(ParamsError) as caught:
        known("digit", ["digits"], "dataset", "table 9")
    assert str(caught.value) == "params.yaml: unknown dataset 'digit' in table 9; did you mean 'digits'?"


def test_an_error_names_the_file_that_was_read_and_no_other() -> None:
    with pytest.raises(DataError) as caught, naming("mine/my.yaml"):
        raise DataError("params.yaml: see my/params.yaml and params.yaml")
    assert str(caught.value) == "mine/my.yaml: see my/params.yaml and mine/my.yaml"


def test_an_error_without_words_is_named_by_its_class() -> None:
    assert one_line(ValueError("two\n  lines")) == "two lines"
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
