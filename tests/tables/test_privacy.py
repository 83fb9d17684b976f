"""Tables of kind `privacy`: which cells there are, what is computed for them, and how ε is printed."""

import copy
import csv
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpmix.artefacts.published_privacy import PublishedPrivacy
from dpmix.catalogue.catalogue import Catalogue
from dpmix.errors import ParamsError
from dpmix.files import read_json
from dpmix.params.read import parse
from dpmix.privacy.accounting import rounded_up
from dpmix.privacy.published_procedure import Procedure
from dpmix.tables.kinds.privacy import COLUMNS
from dpmix.tables.render import read
from dpmix.targets import build_target

Params = dict[str, Any]

TRAININGS = {
    "Head | Sizes": {"dataset": "digits-300", "batch_size": 128, "epochs": 10, "batches": "fixed-order"},
    "Head | Shuffled": {"dataset": "digits-300", "batch_size": 128, "epochs": 10, "batches": "reshuffled"},
    "Scratch | Loader": {
        "dataset": "digits", "batch_size": 256, "epochs": 4, "rate": "loader", "microbatches": True,
    },
}  # fmt: skip


@pytest.fixture
def raw(repository: Path) -> Params:
    found: Params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    found["scales"]["demo"]["figures"] = {}
    table = {"kind": "privacy", "title": "Mine", "trainings": copy.deepcopy(TRAININGS), "epsilons": [2], "delta": 1e-4}
    found["scales"]["demo"]["tables"] = {"mine": table}
    return found


def test_it_is_made_without_training(raw: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    catalogue = Catalogue(parse(raw))
    # Three rows, and nothing but they is needed: no data, no plan, no model.
    assert {type(one) for one in catalogue.artefacts.values()} == {PublishedPrivacy}
    assert len(catalogue.artefacts) == 3
    build_target("table_mine", catalogue)

    table = read(tmp_path / "results/demo/tables/table_mine.json")
    assert table.unit == "ε"
    assert table.columns == tuple(COLUMNS.values())
    with (tmp_path / "results/demo/tables/table_mine.csv").open(encoding="utf-8") as lines:
        rows = {(row["Dataset"], row["Counted"], row["How"]): row for row in csv.DictReader(lines)}
    markdown = (tmp_path / "results/demo/tables/table_mine.md").read_text(encoding="utf-8")
    expected = {
        "Sizes": Procedure(300, 128, 10, 2, 1e-4, batches="fixed-order"),
        "Shuffled": Procedure(300, 128, 10, 2, 1e-4, batches="reshuffled"),
        "Loader": Procedure(1437, 256, 4, 2, 1e-4, rate="loader", microbatches=True),
    }
    for label, procedure in expected.items():
        sigma = procedure.noise_multiplier()
        spent = procedure.epsilons(sigma)
        shown = [cell for cell in table.cells if cell.row[1] == label]
        assert len(shown) == len(COLUMNS)
        for cell in shown:
            name = next(key for key, column in COLUMNS.items() if column == cell.column)
            if name not in spent:
                assert (cell.values, cell.note) == ((), "N/A")
                continue
            assert cell.values == (spent[name],)
            # Up, also where the nearest number is below.
            assert float(rows[label, *cell.column]["mean"]) >= spent[name]
            assert f" {rounded_up(spent[name], 2)} " in next(line for line in markdown.splitlines() if label in line)
            assert bool(cell.note) == (label == "Shuffled" and name == "executed")
    assert spent["undoubled"] > spent["undoubled_exact"] > spent["rdp"]
    assert "Seeds" not in markdown
    assert "seeds" not in markdown
    assert "δ = 0.0001" in markdown

    record = read_json(
        next(one.path("demo") for one in catalogue.of(PublishedPrivacy) if "1437" in str(one.path("demo")))
    )
    assert record["steps"] == {"calibrated": 24, "taken": 24}
    assert record["divisor"] == 239
    assert record["noise_multiplier"] == sigma


def test_every_budget_of_the_paper_is_there_at_both_scales(repository: Path) -> None:
    params = parse(yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8")))
    for scale in ("demo", "paper"):
        catalogue = Catalogue(params, scale)
        sizes = {
            (one.population, one.batch_size, one.epochs, one.epsilon)
            for one in catalogue.of(PublishedPrivacy)
            if isinstance(one, PublishedPrivacy)
        }
        paper = {
            (run.population, run.batch_size, run.epochs, run.epsilon)
            for target in ("2", "3")
            for cell in Catalogue(params, "paper").cells(target)
            for run in cell.artefacts
            if hasattr(run, "holdout") and run.epsilon < 100
        }
        assert paper
        assert paper <= sizes


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("dataset", "digit", "unknown dataset 'digit'"),
        ("batch_size", 301, "table mine, Head / Sizes / ε = 2: 10 epochs of batches of 301 out of 300 are no training"),
        ("batches", "fixed", "should be 'poisson', 'fixed-order' or 'reshuffled'"),
        ("epoch", 1, "unknown key; did you mean 'epochs'?"),
    ],
)
def test_what_does_not_fit_is_one_line(raw: Params, key: str, value: object, words: str) -> None:
    raw["scales"]["demo"]["tables"]["mine"]["trainings"]["Head | Sizes"][key] = value
    with pytest.raises(ParamsError) as caught:
        Catalogue(parse(raw))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_noise_has_no_epsilon(raw: Params) -> None:
    raw["scales"]["demo"]["tables"]["mine"]["epsilons"] = [float("inf")]
    with pytest.raises(ParamsError, match=r"no noise is calibrated for ε = \.inf; remove it"):
        Catalogue(parse(raw))
