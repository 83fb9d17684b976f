import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpmix.claims.entries import FILE, NAME, Cells, load
from dpmix.errors import ParamsError
from tests.claims.made_up import claim

ENTRY: dict[str, Any] = {
    "id": "mine",
    "says": "Mixing is better.",
    "where": ["§1"],
    "expects": "not-less",
    "margin": 0.5,
    "why": "so",
    "parts": [{"higher": {"table": 2, "K": 1}, "lower": {"table": "2", "K": [2, 3]}}],
}


def written(folder: Path, entries: Any) -> Path:
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump(entries, allow_unicode=True), encoding="utf-8")
    return path


def test_every_claim_that_was_asked_for_is_there() -> None:
    assert {one.id for one in load()} >= {
        "microbatches", "self-mixing", "synthetic-mixing", "more-views", "other-augmentations", "pretraining",
        "fid-order", "worth-of-images", "pure-mixing", "gradients", "privacy-cost", "running-time",
    }  # fmt: skip
    assert FILE.as_posix().endswith(NAME)


def test_each_says_what_where_and_with_which_margin() -> None:
    assert len(load()) >= 12
    for one in load():
        assert one.says.endswith(".")
        assert all(re.search("§|abstract|appendix|poster", where) for where in one.where)
        assert (one.margin is not None) == (one.expects in ("not-less", "equal"))


def test_whole_numbers_are_labels_and_a_mapping_is_cells(tmp_path: Path) -> None:
    (one,) = load(written(tmp_path, [ENTRY]))
    ((higher, lower),) = one.parts[0].pairs()
    assert higher == Cells(table="2", labels={"K": "1"})
    assert lower.choice("K", "demo") == ("2", "3")


def test_labels_may_be_given_by_scale() -> None:
    cells = Cells.model_validate({"table": "2", "K": {"demo": 1, "paper": [2, 3]}, "L": "x"})
    assert [cells.choice("K", scale) for scale in ("demo", "paper")] == ["1", ("2", "3")]
    assert [cells.choice(axis, "mine") for axis in ("L", "M")] == ["x", None]
    with pytest.raises(KeyError):
        cells.choice("K", "mine")


def test_a_rising_order_is_pairs_of_neighbours() -> None:
    part = {"cells": {"table": "2", "Model": "m"}, "along": "K", "rising": ["A", "B", "C"]}
    pairs = claim(parts=[part]).parts[0].pairs()
    assert [(above.labels, below.labels) for above, below in pairs] == [
        ({"Model": "m", "K": "B"}, {"Model": "m", "K": "A"}),
        ({"Model": "m", "K": "C"}, {"Model": "m", "K": "B"}),
    ]


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    assert load(written(tmp_path, [ENTRY]))[0].id == "mine"
    path = written(tmp_path, [{**ENTRY, "id": "yours"}])
    import os

    os.utime(path, ns=(1, 1))
    assert load(path)[0].id == "yours"


def drop(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda entry: entry.pop(key)


def put(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda entry: entry.__setitem__(key, value)


def part(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda entry: entry.__setitem__("parts", [values])


CELLS = {"table": "2"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("expect", "greater"), "mine: expect: unknown key; did you mean 'expects'?"),
        (part(higher=CELLS, lower=None), "mine: parts.0: a part has higher and lower, or cells"),
        (drop("says"), "mine: says: is needed, but not there; add it"),
        (drop("id"), "entry 1: id: is needed, but not there; add it"),
        (put("id", "My claim"), "My claim: id: should be lower-case words joined by hyphens, not 'My claim'"),
        (put("says", ""), "mine: says: should not be empty"),
        (put("where", []), "mine: where: should not be empty"),
        (put("where", "§1"), "mine: where: should be a list, not '§1'; write [§1]"),
        (put("expects", "greter"), "mine: expects: should be 'greater', 'not-less', 'equal', 'falling' or "
         "'same-epsilon', not 'greter'; did you mean 'greater'?"),
        (drop("margin"), "mine: expects: not-less needs a margin, and why it is that large; add margin and why"),
        (drop("why"), "mine: expects: not-less needs a margin, and why it is that large"),
        (put("margin", -1), "mine: margin: should be greater than 0, not -1"),
        (put("expects", "greater"), "mine: expects: greater has no margin; remove margin and why, or expect not-less"),
        (put("compare", "ratio"), "mine: a margin is in the table's unit, which a ratio does not have; remove compare"),
        (put("expects", "falling"), "mine: expects: falling has no margin"),
        (put("parts", []), "mine: parts: should not be empty"),
        (part(higher=CELLS), "mine: parts.0: a part has higher and lower, or cells, along and rising, or points"),
        (part(higher=CELLS, lower=CELLS, points=[]), "mine: parts.0"),
        (part(higher=CELLS, lower=CELLS, hihger=CELLS), "mine: parts.0.hihger: unknown key; did you mean 'higher'?"),
        (part(higher={"K": 1}, lower=CELLS), 'mine: parts.0.higher: cells are of one table, or of figure "2"; name it'),
        (part(higher={"table": 2, "D": True}, lower=CELLS),
         "mine: parts.0.higher: the label of 'D' is read as true; write it in quotes"),
        (part(higher={"figure": 1}, lower=CELLS), "mine: parts.0.higher.figure: should be '2', not '1'"),
        (part(cells=CELLS, along="K", rising=["A"]), "mine: parts.0.rising: should not be empty, or has too few"),
        (part(points=[{"value": CELLS, "by": CELLS}] * 2), "mine: parts with points go with expects: falling"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(tmp_path: Path, change: Callable[[dict[str, Any]], Any], said: str) -> None:
    entry = copy.deepcopy(ENTRY)
    change(entry)
    with pytest.raises(ParamsError) as caught:
        load(written(tmp_path, [entry]))
    message = str(caught.value)
    assert message.startswith(f"{NAME}: {said}")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([ENTRY, ENTRY], f"{NAME}: mine: there are two claims of this id; rename one"),
        ([], f"{NAME}: expected a list of claims"),
        ({"mine": ENTRY}, f"{NAME}: expected a list of claims"),
        (["mine"], f"{NAME}: entry 1: it: should be a mapping"),
    ],
)
def test_so_is_one_of_the_whole_file(tmp_path: Path, entries: Any, said: str) -> None:
    with pytest.raises(ParamsError, match=f"^{re.escape(said)}"):
        load(written(tmp_path, entries))


def test_a_file_that_is_not_yaml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text("- {id: [", encoding="utf-8")
    with pytest.raises(ParamsError, match=r"claims\.yaml is not valid YAML"):
        load(path)
