"""An option that several verbs have is one: declared once, and with one meaning; and what is given is heeded."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dpmix.cli import options
from dpmix.cli.audit import audit
from dpmix.cli.compare import compare
from dpmix.cli.evaluate import evaluate
from dpmix.cli.plan import plan
from dpmix.cli.predict import predict
from dpmix.cli.train import train

DECLARED = [value for name, value in vars(options).items() if name[0].isupper() and name not in ("Annotated", "Path")]


@pytest.mark.parametrize("verb", [plan, compare, audit])
def test_what_a_verb_shares_with_train_is_declared_once(verb: object) -> None:
    ours, its = (inspect.signature(one).parameters for one in (train, verb))  # type: ignore[arg-type]
    own = {"images", "output", "place"} | ({"epsilon"} if verb is compare else set())
    shared = [name for name in ours if name in its and name not in own]
    assert len(shared) >= 9
    for name in shared:
        assert its[name].annotation is ours[name].annotation
        assert any(its[name].annotation is one for one in DECLARED)
        assert its[name].default == ours[name].default


class Told(Exception):
    """The verb's function was called."""


# What a verb's function gets of its command line in other words, or not at all: the screen's affair, or tables'.
REAL: dict[Any, dict[str, Any]] = {
    train: {},
    plan: {"as_json": False},
    compare: {"images": ["my-images"], "epsilon": [1.0, 2.0], "methods": ["self-aug", "dp-mix-self"]},
    audit: {"as_json": False},
    evaluate: {},
    predict: {"output": None, "format": "json"},
}
OF_TABLES = {"scale", "targets", "gpu", "utilization", "throughput", "everything", "csv", "params"}
PLACES = {train: ["images"], plan: [], compare: [], audit: ["place"], evaluate: ["model", "images"], predict: ["model"]}


@pytest.mark.parametrize("verb", REAL)
def test_what_is_given_on_the_command_line_reaches_the_verb_under_its_name(
    verb: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def told(*places: Any, **given: Any) -> None:
        got.append((places, given))
        raise Told

    name = verb.__name__
    monkeypatch.setattr(f"dpmix.own.{name}.{name}", told)
    everything = {one: object() for one in inspect.signature(verb).parameters} | REAL[verb]
    if verb is plan:
        everything["more"] = [str(tmp_path)]
    with pytest.raises(Told):
        verb(**everything)
    ((places, given),) = got
    apart = {*PLACES[verb], "as_json", "more", "format", *OF_TABLES}
    expected = {one: value for one, value in everything.items() if one not in apart}
    if verb is compare:
        assert places == (expected.pop("images")[0],)
    elif verb is plan:
        assert places == (str(tmp_path),)
    elif verb is predict:
        expected.pop("output")
        assert places == (everything["model"], expected.pop("images"))
    else:
        assert places == tuple(everything[one] for one in PLACES[verb])
    assert given == expected
