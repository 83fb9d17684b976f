"""The scales that are counted, with nothing on disk yet."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dpmix.artefacts.experiment import Experiment
from dpmix.catalogue.catalogue import Catalogue
from dpmix.costs import amounts, estimate, operations
from dpmix.params.read import parse


@pytest.fixture(scope="module")
def raw(repository: Path) -> dict[str, Any]:
    """The project's params, with what the numbers below rest on said again: the demo may be tuned."""
    read: dict[str, Any] = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    demo = read["scales"]["demo"]
    demo |= {"seeds": [1, 2, 3], "synthetic_size": {"digits": 1437}}
    demo["tuning"]["holdout"] = 0.25
    demo["scratch"] |= {"batch_size": 256, "epochs": 10, "k_base": 2, "k_self": 2, "k_diff": 0}
    demo["finetune"] |= {"batch_size": 256, "epochs": 5, "k_base": 4, "k_self": 4, "k_diff": 2}
    demo["datasets"] = {"digits-300": {"batch_size": 100, "epochs": 10}}
    demo["dataset_methods"] = {"digits-300": {"pure-dp-mix-diff": {"k_diff": 4}}}
    return read


@pytest.fixture(scope="module")
def demo(raw: dict[str, Any]) -> Catalogue:
    return Catalogue(parse(raw), "demo")


@pytest.fixture(scope="module")
def paper(raw: dict[str, Any]) -> Catalogue:
    return Catalogue(parse(raw), "paper")


@pytest.fixture(autouse=True)
def nothing_is_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def one_flop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image costs one operation forward and three in training, and a parameter-free encoder no disk."""
    cost = operations.Cost(1.0, 3.0)
    for module, names in (
        (operations, ("encoder_cost", "network_cost", "inception_cost")),
        (estimate, ("network_cost",)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, lambda *_, **__: cost)
    monkeypatch.setattr(amounts, "encoder_parameters", lambda *_: 0)


def runs(catalogue: Catalogue, table: str) -> list[Experiment]:
    return [one for cell in catalogue.cells(table) for one in cell.artefacts if isinstance(one, Experiment)]
