"""Keys are text, and there once; a name can stand in a path; `true` is no number, and no number is `true`."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dpmix.errors import ParamsError
from dpmix.params.keys import check_name, with_text_keys
from dpmix.params.read import parse


def changed(repository: Path, place: tuple[Any, ...], key: str, value: Any) -> dict[str, Any]:
    """The raw params with one key changed, which lies below others."""
    raw: dict[str, Any] = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    here: Any = raw
    for part in place:
        here = here[part]
    here[key] = value
    return raw


def test_two_keys_of_the_same_text_are_refused_at_their_place() -> None:
    with pytest.raises(ParamsError) as caught:
        with_text_keys({"scales": [{"tables": {9: 1, "9": 2}}]})
    assert str(caught.value) == "params.yaml: scales.0.tables.9: the key is there twice; rename or remove one"


def test_only_whole_numbers_become_text() -> None:
    assert list(with_text_keys({9: 1, True: 2, 0.5: 3, "a": 4})) == ["9", True, 0.5, "a"]


def test_names_that_look_the_same_are_one() -> None:
    with pytest.raises(ParamsError) as caught:
        with_text_keys({"datasets": {"Gru\u0308n": 1}})
    assert str(caught.value).endswith("accents are letters of their own in it; write it composed: Grün")
    assert with_text_keys({"datasets": {"Grün": 1}}) == {"datasets": {"Grün": 1}}


def test_a_name_fits_into_the_name_of_a_file() -> None:
    assert check_name("é" * 50, "scale") == "é" * 50
    with pytest.raises(ParamsError, match="choose another"):
        check_name("é" * 51, "scale")


def test_a_value_that_contains_itself_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"params\.yaml: a\.0: it contains itself"):
        with_text_keys(yaml.safe_load("a: &a [*a]"))


def test_a_value_may_be_there_twice() -> None:
    assert with_text_keys(yaml.safe_load("{a: &a {1: x}, b: *a}")) == {"a": {"1": "x"}, "b": {"1": "x"}}


@pytest.mark.parametrize("name", ["demo", "vit-b-16", "cifar10+x", "v1.4", "Ünder_score", "9"])
def test_a_name_is_taken(name: str) -> None:
    assert check_name(name, "scale") == name


@pytest.mark.parametrize("name", ["../try", "/tmp", "a/b", ".", "..", "", "-a", "a\n", "{a}", "a b"])
def test_a_name_that_would_leave_its_folder_is_refused(name: str) -> None:
    with pytest.raises(ParamsError) as caught:
        check_name(name, "scale")
    assert str(caught.value).startswith(f"scale {name!r}: a name has letters, digits and ")


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        (("scales", "demo", "finetune"), "batch_size", True),
        (("scales", "demo", "tables", "9", "fixed"), "epsilon", True),
        (("scales", "demo", "scratch"), "learning_rate", {"1": 0.5, "2": True}),
        (("scales", "demo", "tables", "9", "columns", 1), "k_self", [2, True]),
        (("datasets", "digits"), "channels", True),
        (("methods", "self-aug"), "k_self", False),
    ],
)
def test_true_is_no_number(repository: Path, place: tuple[Any, ...], key: str, value: Any) -> None:
    with pytest.raises(ParamsError) as caught:
        parse(changed(repository, place, key, value))
    assert str(caught.value).startswith(f"params.yaml: {'.'.join(map(str, (*place, key)))}")
    assert str(caught.value).endswith(f"should be a number, not {'false' if value is False else 'true'}")


@pytest.mark.parametrize("value", [1, 0, "true", "no", 1.0])
@pytest.mark.parametrize(
    ("place", "key"),
    [(("methods", "self-aug"), "augment_synthetic"), (("scales", "demo", "tables", "9", "fixed"), "release")],
)
def test_a_number_or_a_text_is_not_true(repository: Path, place: tuple[str, ...], key: str, value: Any) -> None:
    with pytest.raises(ParamsError) as caught:
        parse(changed(repository, place, key, value))
    assert str(caught.value) == f"params.yaml: {'.'.join((*place, key))}: should be true or false, not {value!r}"


@pytest.mark.parametrize("rates", [{"1": 0.5, 1.0: 0.25}, {"1": 0.5, "2": 1, "1.0": 0.25}, {0.5: 1, "5e-1": 2}])
def test_one_number_is_one_key(repository: Path, rates: dict[Any, float]) -> None:
    """Else the later of two rates for one ε would be taken, and nothing said."""
    with pytest.raises(ParamsError) as caught:
        parse(changed(repository, ("scales", "demo", "scratch"), "learning_rate", rates))
    first, *_, last = map(str, rates)
    assert str(caught.value) == (
        f"params.yaml: scales.demo.scratch.learning_rate: {first} and {last} are the same number; remove one"
    )


def test_an_entry_has_no_other_name_than_its_key(repository: Path) -> None:
    raw = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    raw["datasets"]["digits"]["name"] = "../x"
    with pytest.raises(ParamsError) as caught:
        parse(raw)
    assert str(caught.value) == ("params.yaml: datasets.digits.name: the name of an entry is its key; remove this one")
