from pathlib import Path

import pytest

from dpmix.errors import DataError, DpmixError, ParamsError
from dpmix.own.request import Request, default_out, flag, keep, kept, parsed, refuse_another, request


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
    with pytest.raises(DpmixError, match="is damaged; delete"):
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
        ("batch_size", 5, "batch-size is not given, not 5; resume it without --batch-size"),
        ("research", True, "research is not given, not True"),
    ):
        with pytest.raises(ParamsError, match=words):
            refuse_another({name: value}, asked)


def test_mistakes_name_the_option(here: Path) -> None:
    with pytest.raises(ParamsError, match=r"batch size should be greater than 0, not 0; correct it: --batch-size"):
        request("mine", None, epsilon=2, batch_size=0)
    with pytest.raises(ParamsError, match=r"unit should be 'image' or 'person', not 'persons'; did you mean 'person'"):
        request("mine", None, epsilon=2, unit="persons")
    with pytest.raises(DataError, match="theirs does not exist"):
        request("theirs", None, epsilon=2)
    with pytest.raises(ParamsError, match="shows every accuracy as it is"):
        parsed({"images": here, "output": here, "epsilon": 2, "research": True, "evaluate_epsilon": 0.1})
    assert flag("k_base") == "k-base"
    assert Request.model_fields["epsilon"].is_required()
