"""What several tests of training jobs need."""

from typing import Any

from dpmix.artefacts.base import Artefact
from dpmix.execution import Execution
from dpmix.seals import read_record
from dpmix.training.runner import make

RATES = (1.0, 8.0, 64.0)


def remade(artefacts: list[Artefact], **options: Any) -> dict[str, Any]:
    """What a fresh job writes, parsed, by path; `times` and `execution` apart."""
    found = {}
    make(artefacts, "demo", Execution(**options))
    for artefact in artefacts:
        path = artefact.path("demo")
        if path.suffix == ".json":
            content = read_record(path)
            content.pop("times", None), content.pop("execution", None)
            found[path.as_posix()] = content
        path.unlink()
    return found
