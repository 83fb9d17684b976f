"""The project's own catalogues, in a folder where nothing has been made."""

from pathlib import Path

import pytest

from dpmix.catalogue.catalogue import Catalogue
from dpmix.params.read import read


@pytest.fixture(scope="session")
def catalogues(repository: Path) -> dict[str, Catalogue]:
    params = read(repository / "params.yaml")
    return {scale: Catalogue(params, scale) for scale in ("demo", "paper")}


@pytest.fixture(params=["demo", "paper"])
def catalogue(request: pytest.FixtureRequest, catalogues: dict[str, Catalogue]) -> Catalogue:
    return catalogues[request.param]


@pytest.fixture
def demo(catalogues: dict[str, Catalogue]) -> Catalogue:
    return catalogues["demo"]
