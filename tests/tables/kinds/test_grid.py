"""Grids of runs whose batches were in a fixed order: in every kind of table their ε is nominal, and said to be."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dpmix.artefacts.experiment import Experiment
from dpmix.catalogue.catalogue import Catalogue
from dpmix.files import write_json
from dpmix.params.read import parse
from dpmix.tables.build import build
from dpmix.tables.markdown import markdown


@pytest.mark.parametrize("kind", ["accuracy", "runtime", "model-mix"])
def test_a_nominal_epsilon_never_stands_alone(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    table: dict[str, Any] = {
        "kind": kind,
        "title": "Mine",
        "rows": [{"axis": "Batches", "values": {"Poisson": {}, "ordered": {"batches": "fixed-order"}}}],
        "columns": [{"axis": "ε", "epsilon": [8, float("inf")]}],
        "fixed": {"dataset": "digits", "model": "tiny-wrn", "method": "self-aug", "learning_rate": 1},
    }
    demo = {**params["scales"]["demo"], "tables": {"mine": table}, "figures": {}}
    catalogue = Catalogue(parse({**params, "scales": {"demo": demo}}))
    for run in catalogue.of(Experiment):
        assert isinstance(run, Experiment)
        spent = {} if run.epsilon == float("inf") else {"rdp": 21.3041 if run.batches == "fixed-order" else 7.99}
        record = {"accuracy": 80.0, "epsilon": spent, "times": {"seconds": 3.0, "hardware": "an abacus"}}
        write_json(run.path("demo"), record)
    made = build("mine", catalogue)
    notes = {key: cell.note for key, cell in made.grid.items()}
    said = "batches in a fixed order: ε executed is 21.31, and 8 is nominal"
    assert notes == {
        (("Poisson",), ("ε = 8",)): "", (("ordered",), ("ε = 8",)): said,
        (("Poisson",), ("ε = ∞",)): "", (("ordered",), ("ε = ∞",)): "",
    }  # fmt: skip
    assert said in markdown(made)
