"""Table 3 and all that it is made from, in this process, where a test can make them small."""

from pathlib import Path

from dpmix.artefacts.base import Artefact
from dpmix.catalogue.catalogue import Catalogue
from dpmix.params.read import read
from dpmix.targets import build_target

PARAMS = Path("params.yaml")


def outputs(catalogue: Catalogue, *kinds: type[Artefact]) -> list[Path]:
    """The files of these kinds."""
    return [Path(catalogue.path(artefact)) for kind in kinds for artefact in catalogue.of(kind)]


def make_table_3(scale: str | None = None) -> Catalogue:
    """Table 3 with encoders from `params.yaml` in the working directory, and all that it is made from."""
    catalogue = Catalogue(read(PARAMS), scale)
    build_target("table3", catalogue)
    return catalogue
