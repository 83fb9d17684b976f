"""A scale whose runs left records with numbers of their own: whole, in part, or with some that failed."""

from pathlib import Path

from dpmix.artefacts.experiment import Experiment
from dpmix.catalogue.catalogue import Catalogue
from dpmix.files import read_json
from dpmix.params.read import read
from dpmix.seals import SEAL, write_record
from tests.tables.records import leave_records

VERSIONS = {"dpmix": "0.1.0", "torch": "2.13.0"}


def lay(folder: Path, repository: Path, *tables: str, scale: str = "demo") -> Catalogue:
    """Records of all that these tables show, below the folder, which must be the working directory.

    Args:
        folder: an empty folder; it gets the project's params.
        repository: the project.
        tables: by name; all of the scale's if none is named.
        scale: of the params.
    """
    (folder / "params.yaml").write_text((repository / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    catalogue = Catalogue(read(folder / "params.yaml"), scale)
    for name in tables or catalogue.spec.tables:
        leave_records(catalogue, name)
        for cell in catalogue.cells(name):
            for artefact in cell.artefacts:
                whole(artefact.path(scale), artefact)
    return catalogue


def whole(path: Path, artefact: object) -> None:
    """Seal a record, and add to a run's what the report tells of it."""
    record = read_json(path)
    record.pop(SEAL, None)
    if isinstance(artefact, Experiment):
        record |= {
            "noise_multiplier": 1.25, "sampling_rate": 0.125, "clipped": 0.5, "versions": VERSIONS,
            "execution": {"device": "cpu", "threads": 1, "halved_to": None},
            "inputs": {"data/images/x/meta.json": 64 * "a"},
            "times": {"seconds": 12.5, "hardware": "an abacus",
                      "finished": f"2026-01-0{artefact.seed % 9 + 1} 10:00:00+0000"},
        }  # fmt: skip
    write_record(path, record)
