"""Tables of accuracy with differences of their rows below, which leave the reference rows out."""

from pathlib import Path

import pytest
import yaml

from dpmix.artefacts.experiment import Experiment
from dpmix.catalogue.catalogue import Catalogue
from dpmix.files import write_json
from dpmix.params.read import parse
from dpmix.tables.build import build
from dpmix.tables.kinds.differences import difference


def test_rows_are_compared_seed_by_seed(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    raw = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    table = {
        "kind": "accuracy",
        "title": "Mine",
        "rows": [{"axis": "Dataset", "dataset": ["digits"]}, {"axis": "Method", "method": ["self-aug", "dp-mix-self"]}],
        "columns": [{"axis": "ε", "epsilon": [2, 8]}],
        "fixed": {"model": "tiny-vit", "learning_rate": 4},
        "ladder": {"method": "self-aug"},
    }
    raw["scales"]["demo"] |= {"tables": {"mine": table}, "figures": {}}
    plain = Catalogue(parse(raw))
    gains = {2.0: (1.0, 2.5, 3.0), 8.0: (0.5, -0.5, 0.25)}
    raw["scales"]["demo"]["tables"]["mine"]["compare"] = {"digits | DP-Mix_Self": ["digits | Self-Aug"]}
    catalogue = Catalogue(parse(raw))
    assert catalogue.fingerprint("table_mine") != plain.fingerprint("table_mine")
    assert set(catalogue.artefacts) == set(plain.artefacts)
    for run in catalogue.of(Experiment):
        assert isinstance(run, Experiment)
        gain = gains[run.epsilon][run.seed - 1] if run.method == "dp-mix-self" else 0.0
        write_json(run.path("demo"), {"accuracy": 80.0 + run.seed**2 + gain, "epsilon": {"rdp": 1.9}})
    for artefact in catalogue.targets["table_mine"]:
        if not isinstance(artefact, Experiment):
            write_json(artefact.path("demo"), {"accuracy": 70.0})
    notes = build("mine", catalogue).notes
    expected = difference(
        "digits, DP-Mix_Self",
        "digits, Self-Aug",
        {f"ε = {epsilon:g}": (one, (0.0, 0.0, 0.0)) for epsilon, one in gains.items()},
    )
    assert expected in notes
    assert not [note for note in build("mine", plain).notes if "minus" in note]
