"""The projects' own catalogues, and what their cells hold."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dpmix.artefacts.experiment import Experiment
from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.cells import CellSpec
from dpmix.params.read import parse

TABLE_NUMBERS = [str(number) for number in range(1, 14)]


@pytest.fixture(scope="module")
def raw(repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def catalogues(raw: dict[str, Any]) -> dict[str, Catalogue]:
    params = parse(raw)
    return {scale: Catalogue(params, scale) for scale in ("demo", "paper")}


@pytest.fixture
def paper(catalogues: dict[str, Catalogue]) -> Catalogue:
    return catalogues["paper"]


@pytest.fixture(autouse=True)
def nothing_is_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def inner(catalogue: Catalogue, table: str) -> list[CellSpec]:
    """The cells of a table that the paper could have: without the ends of the ladder."""
    return [cell for cell in catalogue.cells(table) if not cell.end]


def runs(catalogue: Catalogue, table: str) -> list[Experiment]:
    return [one for cell in inner(catalogue, table) for one in cell.artefacts if isinstance(one, Experiment)]
