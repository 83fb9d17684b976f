"""What a file that was edited says is one line, whichever number of it was edited and to what."""

import math
import time
from collections.abc import Iterator
from typing import Any

import pytest

from dpmix.cli import main
from dpmix.errors import DataError, DpmixError
from dpmix.files import read_json, write_json
from dpmix.own.model import model_folder, privacy_check
from dpmix.own.model.model_folder import ModelFolder
from dpmix.own.model.privacy_fields import Audit, Evaluation, Together, refuse_odd_config, refuse_odd_privacy
from tests.own.folders import Made

pytestmark = pytest.mark.filterwarnings("ignore")

RESULTS = {
    "evaluation": {"accuracy": 91.5, "images": 40, "epsilon": 0.1},
    "audit": {
        "epsilon_lower_bound": 0.2, "without_assumptions": 0.1, "confidence": 0.95, "observations": 10, "runs": 1,
        "contradicted": False,
    },
    "together": {
        "epsilon": 90.0, "delta": 1e-5, "models": 2, "other_unit": 1, "research": 3, "test_epsilon": 0.1,
    },
}  # fmt: skip
# What no number of these files is: missing entries are a case of their own.
NEVER = [None, math.nan, math.inf, -math.inf, -1, 10**400, -(10**400), "1", "much", [], {}, True]
HUGE = 1e308
MISSING = object()
# Numbers that nothing belies, however large they are.
FREE = [
    ("mechanism", "clip_norm"), ("tuning", "learning_rate"), ("together", "epsilon"), ("together", "test_epsilon"),
]  # fmt: skip


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all numbers."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def changed(said: Any, path: tuple[Any, ...], new: object) -> Any:
    """A copy with another value at a place."""
    if not path:
        return new
    copy = dict(said) if isinstance(said, dict) else list(said)
    if len(path) == 1 and new is MISSING:
        del copy[path[0]]
    else:
        copy[path[0]] = changed(said[path[0]], path[1:], new)
    return copy


@pytest.fixture(scope="module")
def record(shapes: Made) -> dict[str, Any]:
    said = {**read_json(shapes.folder / "privacy.json"), **RESULTS}
    privacy_check.check(said, shapes.folder / "model.safetensors")
    return said


def test_every_number_of_a_privacy_record_is_looked_at(record: dict[str, Any], shapes: Made) -> None:
    model = shapes.folder / "model.safetensors"
    places = [path for path in leaves(record) if path[0] not in ("format", "code")]
    assert len(places) > 25
    taken, told, began = [], [], time.process_time()
    for path in places:
        # What the model's steps decide is computed again for each: tests/own/model/test_privacy_check.py edits these.
        decided = path[0] == "guarantee" or "executed" in path
        for new in NEVER if decided else [*NEVER, MISSING, HUGE]:
            try:
                privacy_check.check(changed(record, path, new), model)
            except DpmixError as error:
                told.append(str(error))
            else:
                taken.append((path, new))
    assert [one for one in told if len(one.splitlines()) != 1 or len(one) > 400] == []
    assert len(told) > 250
    assert set(taken) == {(path, HUGE) for path in FREE}
    assert time.process_time() - began < 60


@pytest.mark.parametrize(
    ("path", "new"),
    [
        (("evaluation", "epsilon"), 11.0),
        (("evaluation", "accuracy"), 100.1),
        (("audit", "epsilon_lower_bound"), 99.0),
        (("audit", "contradicted"), True),
        (("together", "epsilon"), 0.1),
        (("together", "delta"), 1e-9),
        (("mechanism", "steps", "planned"), 1),
    ],
)
def test_a_number_that_the_others_belie_is_named(
    record: dict[str, Any], shapes: Made, path: tuple[str, ...], new: object
) -> None:
    with pytest.raises(DpmixError, match=path[0]):
        privacy_check.check(changed(record, path, new), shapes.folder / "model.safetensors")


def test_every_verb_refuses_an_edited_record_alike(
    model: ModelFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = model.path / "privacy.json"
    write_json(path, {**read_json(path), "evaluation": {"accuracy": 90.0, "images": 9, "epsilon": 1e9}})
    for words in (
        ["statement", "shapes-model"], ["card", "shapes-model"], ["predict", "shapes-model", "new"],
        ["evaluate", "shapes-model", "new"], ["audit", "shapes-model"], ["export", "shapes-model", "--format", "hub"],
    ):  # fmt: skip
        monkeypatch.setattr("sys.argv", ["dpmix", *words])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code
        told = str(caught.value.code) if isinstance(caught.value.code, str) else capsys.readouterr().err
        assert "privacy.json has no value that training writes at 'evaluation.epsilon'; put back" in told
        assert len(told.strip().splitlines()) == 1


def test_every_number_of_a_config_is_looked_at(model: ModelFolder) -> None:
    path = model.path / "config.json"
    config = {**read_json(path), "split": {"test_share": 0.2, "key": "dpmix"}}
    for place in (("resolution",), ("channels",), ("num_classes",), ("split", "test_share")):
        for new in NEVER if place[0] == "split" else [*NEVER, MISSING]:
            if new is None and place[0] == "split":
                continue
            write_json(path, changed(config, place, new))
            with pytest.raises(DataError) as caught:
                model_folder.read(model.path).load()
            assert len(str(caught.value).splitlines()) == 1
    for name, new in (("label_names", ["a", "b", "d"]), ("resolution", 8), ("channels", 1)):
        write_json(path, {**config, name: new, "num_classes": len(config["label_names"])})
        with pytest.raises(DataError, match=r"config\.json (says something else of|has 3 names)"):
            model_folder.read(model.path).load()


def test_whatever_is_written_is_read(record: dict[str, Any], model: ModelFolder) -> None:
    refuse_odd_privacy(record, "privacy.json")
    refuse_odd_config(model.config, "config.json")
    assert Evaluation.model_validate(RESULTS["evaluation"]).model_dump() == RESULTS["evaluation"]
    assert Audit.model_validate(RESULTS["audit"]).model_dump() == RESULTS["audit"]
    assert Together.model_validate(RESULTS["together"]).model_dump() == RESULTS["together"]
