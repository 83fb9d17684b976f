"""What runs leave, with numbers of their own, for the tests of what is made from it."""

import math
from pathlib import Path

from dpmix.artefacts.experiment import Experiment, Selection
from dpmix.artefacts.measurements import CanaryAttack, Distance, ZeroShot
from dpmix.artefacts.published_privacy import PublishedPrivacy
from dpmix.catalogue.catalogue import Catalogue
from dpmix.files import write_json
from dpmix.tables.kinds.privacy import COLUMNS


def rate_of(run: Experiment) -> float | None:
    """Its learning rate, or the middle of the grid that it is chosen from."""
    if isinstance(run.learning_rate, Selection):
        return sorted(run.learning_rate.learning_rates)[len(run.learning_rate.learning_rates) // 2]
    return run.learning_rate


def spent(run: Experiment) -> dict[str, float]:
    """What a run says of its ε: every accountant and every seed something else, and none of it the target."""
    by_accountant = {"rdp": 0.01, "prv": 0.02, "pld": 0.03}
    seed = run.seed % 7 / 1000
    return {"target": run.epsilon, **{name: run.epsilon - less - seed for name, less in by_accountant.items()}}


def leave_records(catalogue: Catalogue, table: str) -> dict[Path, float]:
    """A record for everything that a table shows, each with a number of its own."""
    numbers = {}
    artefacts = {a.path(catalogue.scale): a for cell in catalogue.cells(table) for a in cell.artefacts}
    for index, (path, artefact) in enumerate(sorted(artefacts.items())):
        numbers[path] = 10 + index / 8
        if isinstance(artefact, PublishedPrivacy):
            write_json(path, {"epsilon": dict.fromkeys(COLUMNS, numbers[path])})
            continue
        if isinstance(artefact, CanaryAttack):
            bounds = {"accountant": artefact.epsilon, "at_least": numbers[path]}
            write_json(path, {"epsilon": bounds, "confidence": 0.95})
            continue
        if isinstance(artefact, Distance):
            write_json(path, {"distance": numbers[path]})
            continue
        if isinstance(artefact, ZeroShot):
            write_json(path, {"accuracy": numbers[path], "epsilon": {}, "experiment": {}})
            continue
        assert isinstance(artefact, Experiment)
        record = {
            "accuracy": numbers[path],
            "best_epoch_on_test": numbers[path] + 40,
            "learning_rate": rate_of(artefact),
            "epsilon": spent(artefact) if artefact.epsilon < math.inf else {},
            "experiment": {"accountant": artefact.accountant},
            "steps": {"planned": 30, "executed": 30 + index},
            "times": {"seconds": 60 * numbers[path], "hardware": ("an abacus", "a slide rule")[artefact.seed % 2]},
        }
        write_json(path, record)
    return numbers
