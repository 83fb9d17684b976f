"""An option that several verbs have is one: declared once, and with one meaning; and what is given is heeded."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import dpmix
from dpmix.cli.app import app
from dpmix.cli.audit import audit
from dpmix.cli.compare import compare
from dpmix.cli.evaluate import evaluate
from dpmix.cli.options import SHARED
from dpmix.cli.plan import plan
from dpmix.cli.predict import predict
from dpmix.cli.train import train
from dpmix.data.listing import read_listing
from dpmix.own.choices.encoders import encoder
from dpmix.own.choices.recipe import recipe
from dpmix.own.choices.request import Request
from dpmix.own.choices.setup import _settings
from dpmix.own.research.comparison import EPSILONS


@pytest.mark.parametrize("verb", [plan, compare, audit])
def test_what_a_verb_shares_with_train_is_declared_once(verb: object) -> None:
    ours, its = (inspect.signature(one).parameters for one in (train, verb))  # type: ignore[arg-type]
    own = {"images", "output", "place"} | ({"epsilon"} if verb is compare else set())
    shared = [name for name in ours if name in its and name not in own]
    assert len(shared) >= 9
    for name in shared:
        assert its[name].annotation is ours[name].annotation
        assert (its[name].annotation, its[name].default) == SHARED[name]
        assert its[name].default == ours[name].default


def shown_defaults(verb: str) -> dict[str, str]:
    """What the help of a verb says of the default of each of its options."""
    text = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "300"}).output
    rows = re.findall(r"^│ \*?\s*--([\w-]+)\s+<[^>]*>+\s+(.*?)\s*│$", text, flags=re.MULTILINE)
    found = {
        name: re.search(r"\(?(?:by )?default:?\)? ?(.*?)[.\]]*$", said, flags=re.IGNORECASE) for name, said in rows
    }
    shared = set(SHARED) & set(inspect.signature(VERBS[verb]).parameters)
    assert {{"json": "as_json"}.get(name, name.replace("-", "_")) for name, _ in rows} > shared
    return {name: one[1] for name, one in found.items() if one is not None}


VERBS = {"train": train, "plan": plan, "compare": compare, "audit": audit}


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_has_the_default_of_each_option_as_the_recipe_has_it(verb: str) -> None:
    usual, others = recipe(2_000, 2, 4.0), inspect.signature(read_listing).parameters
    public = _settings(Request(images=Path("a"), output=Path("b"), epsilon=4), usual, "dp-mix-diff")
    eye = encoder()
    expected = {
        "delta": f"{recipe(10, 2, 4.0).delta:g} or less",
        "test-share": str(others["test_share"].default),
        "key": others["key"].default,
        "encoder": eye.name,
        "side": f"{eye.resolution}, or its own",
        "k-base": str(usual.k_base),
        "k-self": str(usual.k_self),
        "batch-size": f"N/{2_000 / usual.batch_size:g}",
        "epochs": str(usual.epochs),
        "clip-norm": f"{usual.clip_norm:g}",
        "ledger": "beside IMAGES",
        "device": "a GPU, or cpu",
        "learning-rate": "by a rule",
    }
    text = " ".join(CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "300"}).output.split())
    said = shown_defaults(verb)
    there = {name: value for name, value in expected.items() if f" --{name} " in text}
    assert len(there) >= 8
    assert {name: said.get(name) for name in there} == there
    assert "image (default) or person" in text
    if " --k-diff " in text:
        assert f"{public['k_diff']} by --synthetic, else {usual.k_diff}" in text
    if " --method " in text:
        assert f"{usual.method} (default) or dp-mix-diff (with public images)" in text
    if verb == "compare":
        assert said["epsilon"] == " ".join(f"{one:g}" for one in EPSILONS)
    if verb == "train":
        assert (said["output"], said["seed"]) == ("IMAGES-model", "0")


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

    monkeypatch.setattr(".".join(dpmix._HOMES[verb.__name__]), told)
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
