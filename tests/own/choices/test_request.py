from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from dpmix.errors import DataError, ParamsError
from dpmix.own.choices.request import (
    _REAL,
    _WHOLE,
    Request,
    default_out,
    flag,
    keep,
    kept,
    parsed,
    refuse_another,
    request,
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path.resolve()


def test_places_are_absolute_and_the_model_lies_beside_the_images(here: Path) -> None:
    asked = request("mine/", None, epsilon=2, synthetic="d", ledger="spent.json", k_base=None)
    assert (asked.images, asked.output, asked.work) == (here / "mine", here / "mine-model", here / "mine-model.work")
    assert (asked.synthetic, asked.ledger) == (here / "d", here / "spent.json")
    assert request("mine", None, epsilon=2, research=True).output == here / "mine-research"
    (here / "mine.zip").touch()
    assert default_out(here / "mine.zip") == here / "mine-model"
    assert request("mine", "there/m", epsilon=2).output == here / "there" / "m"


def test_what_is_kept_comes_back(here: Path) -> None:
    asked = request("mine", None, epsilon=2, unit="person", learning_rate=0.5, seed=3, research=True)
    keep(asked, here / "request.json")
    assert kept(here / "request.json") == asked
    (here / "request.json").write_text('{"images": 3}', encoding="utf-8")
    with pytest.raises(DataError, match=rf"is damaged at images; delete {here} and train afresh$"):
        kept(here / "request.json")


def test_options_of_an_unfinished_run_are_its_own(here: Path) -> None:
    asked = request("mine", None, epsilon=2, synthetic="d", k_diff=2)
    same = {
        "images": here / "mine",
        "epsilon": 2.0,
        "synthetic": "d",
        "k_diff": None,
        "unit": "image",
        "research": False,
    }
    refuse_another(same, asked)
    for name, value, words in (
        ("epsilon", 3.0, "epsilon is 2.0, not 3.0"),
        ("synthetic", "e", "synthetic is "),
        ("batch_size", 5, "batch size is not given, not 5; resume it without `batch_size`"),
        ("research", True, "research is not given, not True"),
    ):
        with pytest.raises(ParamsError, match=words):
            refuse_another({name: value}, asked)


@pytest.mark.parametrize("name", ["epsilon", "delta", "test_share", "batch_size", "side", "seed", "evaluate_epsilon"])
@pytest.mark.parametrize("value", ["4", True, [4], Decimal(4)])
def test_a_number_is_no_text_and_no_truth_value(here: Path, name: str, value: object) -> None:
    with pytest.raises(ParamsError, match=rf"^{name.replace('_', ' ')} should be a (whole )?number") as caught:
        request("mine", None, **{"epsilon": 2, "research": name == "seed", name: value})
    assert len(str(caught.value).splitlines()) == 1
    written = f"{name}=4" if value == "4" else name
    assert str(caught.value).endswith(f"; correct it: `{written}`")


def test_numbers_of_numpy_and_whole_ones_as_floats_are_numbers(here: Path) -> None:
    asked = request("mine", None, epsilon=np.int64(2), delta=np.float32(0.5), batch_size=np.int64(8), epochs=5.0)
    assert [type(one) for one in (asked.epsilon, asked.delta, asked.batch_size, asked.epochs)] == [
        float,
        float,
        int,
        int,
    ]
    keep(asked, here / "request.json")
    assert kept(here / "request.json") == asked


@pytest.mark.parametrize("name", ["skip_damaged", "research"])
def test_a_truth_value_is_no_text(here: Path, name: str) -> None:
    with pytest.raises(ParamsError, match=f"{name.replace('_', ' ')} should be true or false, not 'no'"):
        request("mine", None, **{"epsilon": 2, name: "no"})


def test_every_field_with_a_number_is_checked_to_be_one() -> None:
    numeric = {
        name
        for name, field in Request.model_fields.items()
        if {int, float} & {field.annotation, *_inner(field.annotation)}
    }
    assert numeric == {*_REAL, *_WHOLE}


def _inner(annotation: Any) -> set[Any]:
    """All types in an annotation such as `Annotated[int, …] | None`."""
    inside = get_args(annotation)
    return {annotation}.union(*map(_inner, inside)) if inside else {annotation}


def test_mistakes_name_the_option(here: Path) -> None:
    with pytest.raises(ParamsError, match=r"batch size should be greater than 0, not 0; correct it: `batch_size`$"):
        request("mine", None, epsilon=2, batch_size=0)
    with pytest.raises(ParamsError, match=r"unit should be 'image' or 'person', not 'persons'; did you mean 'person'"):
        request("mine", None, epsilon=2, unit="persons")
    with pytest.raises(DataError, match="theirs does not exist"):
        request("theirs", None, epsilon=2)
    with pytest.raises(ParamsError, match="shows every accuracy as it is"):
        parsed({"images": here, "output": here, "epsilon": 2, "research": True, "evaluate_epsilon": 0.1})
    assert flag("k_base") == "k-base"
    assert Request.model_fields["epsilon"].is_required()
