"""Cells are read from records that anybody may have edited, or that another program left half."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpmix.artefacts.experiment import Experiment
from dpmix.catalogue.catalogue import Catalogue
from dpmix.errors import DataError
from dpmix.files import read_json, write_json
from dpmix.params.read import parse
from dpmix.tables.build import build
from dpmix.tables.kinds.base import finite, read_part, spent

ONE = {
    "title": "Mine",
    "rows": [{"axis": "Method", "method": ["self-aug"]}],
    "columns": [{"axis": "ε", "epsilon": [8]}],
    "fixed": {"dataset": "digits", "model": "tiny-wrn", "learning_rate": 1},
}
KINDS = ("accuracy", "runtime", "released", "model-mix")
RECORD = {
    "accuracy": 80.0, "best_epoch_on_test": 81.0, "epsilon": {"rdp": 7.9}, "learning_rate": 1.0,
    "times": {"seconds": 3.0, "hardware": "an abacus"},
}  # fmt: skip


@pytest.fixture
def catalogue(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """A table of each kind of the same run, which left its record."""
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    tables = {kind.replace("-", "_"): {"kind": kind, **copy.deepcopy(ONE)} for kind in KINDS}
    demo = {**params["scales"]["demo"], "tables": tables, "figures": {}, "seeds": [1]}
    made = Catalogue(parse({**params, "scales": {"demo": demo}}))
    for run in made.of(Experiment):
        write_json(run.path("demo"), RECORD)
    return made


def test_whole_records_are_read(catalogue: Catalogue) -> None:
    for kind, value in zip(KINDS, (80.0, 0.05, 80.0, 80.0), strict=True):
        cell = build(kind.replace("-", "_"), catalogue).cells[0]
        assert (cell.values, cell.epsilon) == ((value,), 7.9)


def within(key: str, name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda record: {**record, key: {**record[key], name: value}}


EDITS: dict[str, Callable[[Any], Any]] = {
    "not finite": lambda record: {**record, "accuracy": float("nan"), "times": {"seconds": float("nan")}},
    "words": lambda record: {**record, "accuracy": "high", "times": {"seconds": "long"}},
    "more than all": lambda record: {**record, "accuracy": 500.0, "times": {"seconds": None}},
    "not there": lambda record: {key: record[key] for key in record if key not in ("accuracy", "times")},
    "a list": lambda record: [record],
    "no epsilons": lambda record: {**record, "epsilon": None},
    "by a list": lambda record: {**record, "epsilon_by": ["rdp"]},
    "epsilon nan": within("epsilon", "rdp", float("nan")),
    "epsilon below 0": within("epsilon", "rdp", -1.0),
    "epsilon in words": within("epsilon", "rdp", "small"),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_records_are_one_line_that_names_the_file(catalogue: Catalogue, kind: str, edit: str) -> None:
    (path,) = {run.path("demo") for run in catalogue.of(Experiment)}
    write_json(path, EDITS[edit](read_json(path)))
    with pytest.raises(DataError, match=r"metrics.json .*; delete it and (make|run)") as caught:
        build(kind.replace("-", "_"), catalogue)
    assert "\n" not in str(caught.value)


def test_what_stands_in_a_table_and_nowhere_else_is_checked_too(catalogue: Catalogue) -> None:
    (path,) = {run.path("demo") for run in catalogue.of(Experiment)}
    for table, edit in {"released": {"best_epoch_on_test": None}, "runtime": {"times": {"seconds": 1.0}}}.items():
        write_json(path, {**RECORD, **edit})
        with pytest.raises(DataError, match="is not a whole record"):
            build(table, catalogue)


def test_parts_of_records(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1, "b": float("inf")})
    assert read_part(tmp_path / "a.json", lambda record: finite(record["a"])) == 1.0
    assert read_part(tmp_path / "a.json", lambda record: spent(record["b"])) == float("inf")
    with pytest.raises(DataError, match=r"a.json is not a whole record \(inf is no finite number\)"):
        read_part(tmp_path / "a.json", lambda record: finite(record["b"]))
