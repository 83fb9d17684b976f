"""Reads a `privacy.json`, and holds it against the model's file and against itself."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dpmix.errors import DataError, PrivacyError
from dpmix.own.model.privacy_fields import refuse_odd_privacy
from dpmix.own.model.privacy_record import FORMAT, adjacency, from_file
from dpmix.release.statement import read_statement

# Entries of which the model's file decides all, so that nothing may be added.
_WHOLE = ("guarantee", "model", "mechanism.executed")
_ACCOUNTED = ("guarantee.epsilon", "guarantee.gdp_mu", "guarantee.persons")


def of_folder(folder: Path) -> dict[str, Any]:
    """The `privacy.json` of a model's folder.

    Raises:
        DataError: if it is missing, or is none.
    """
    from dpmix.files import read_object

    said = read_object(folder / "privacy.json", "copy or make the folder again")
    if said.get("format") != FORMAT:
        raise DataError(f"{folder / 'privacy.json'} is no privacy record of this version; make the model again")
    refuse_odd_privacy(said, folder / "privacy.json")
    return said


def check(said: Mapping[str, Any], model: Path) -> None:
    """Hold a `privacy.json` against the model's file: ε, μ and all else that the file decides are computed again.

    Raises:
        DataError: if the file is no whole released model, or the record has other types than it is written with.
        PrivacyError: if they do not agree; the message names the first entry that differs.
    """
    refuse_odd_privacy(said, f"privacy.json beside {model}")
    statement = read_statement(model)
    found = from_file(model, statement, alike=not said["mechanism"]["bound_of_one_image"])
    where = _difference(found, said) or _contradiction(said)
    if where is not None:
        raise PrivacyError(
            f"privacy.json beside {model} says something else of {where} than the model's own steps; do not trust it"
        )


def _contradiction(said: Mapping[str, Any]) -> str | None:
    """The first entry that the rest of a `privacy.json` belies; None if there is none."""
    mechanism, together, audit, tested = (said[name] for name in ("mechanism", "together", "audit", "evaluation"))
    own = min(said["guarantee"]["epsilon"].values())
    right = {
        "mechanism.steps.executed": mechanism["steps"]["executed"]
        == sum(row["steps"] for row in mechanism["executed"]),
        "mechanism.steps.planned": mechanism["steps"]["planned"] >= mechanism["steps"]["executed"],
        "definition.adjacency": said["definition"]["adjacency"] == adjacency(said["definition"]["unit"]),
        "together.epsilon": not together or together["epsilon"] >= own * (1 - 1e-3),
        "together.delta": not together or together["delta"] >= said["guarantee"]["delta"],
        "together.test_epsilon": not together
        or not tested
        or together["test_epsilon"] >= tested["epsilon"] * (1 - 1e-9),
        "audit.without_assumptions": not audit or audit["without_assumptions"] <= audit["epsilon_lower_bound"],
        "audit.contradicted": not audit or audit["contradicted"] == (audit["epsilon_lower_bound"] > own),
    }
    return next((where for where, holds in right.items() if not holds), None)


def _difference(found: Any, said: Any, where: str = "") -> str | None:
    """The first entry of `found` that `said` has otherwise; ε and μ may differ by what processors round otherwise."""
    if isinstance(found, Mapping):
        if not isinstance(said, Mapping) or (where.startswith(_WHOLE) and set(said) != set(found)):
            return where
        inner = (_difference(value, said.get(key), f"{where}.{key}".lstrip(".")) for key, value in found.items())
        return next((one for one in inner if one is not None), None)
    if isinstance(found, Sequence) and not isinstance(found, str):
        if not isinstance(said, Sequence) or len(said) != len(found):
            return where
        inner = (_difference(one, other, where) for one, other in zip(found, said, strict=True))
        return next((one for one in inner if one is not None), None)
    if where.startswith(_ACCOUNTED) and isinstance(found, float) and isinstance(said, int | float):
        return None if math.isclose(found, said, rel_tol=1e-3, abs_tol=2e-4) else where
    return None if found == said else where
