"""Claims and tables for the tests: a grid of methods by data sets, with values by seed."""

from collections.abc import Mapping
from typing import Any

from dpmix.claims.entries import Claim
from dpmix.claims.pairs import Grid, Place

HIGHER, LOWER = {"table": "2", "Method": "Mixed"}, {"table": "2", "Method": "Plain"}
Values = Mapping[int, float]


def claim(**changes: Any) -> Claim:
    """Mixed over Plain in Table 2, unless the changes say otherwise."""
    entry = {"id": "mine", "says": "Mixed is better.", "where": ["§1"], "expects": "greater",
             "parts": [{"higher": HIGHER, "lower": LOWER}]}  # fmt: skip
    return Claim.model_validate({**entry, **changes})


def place(
    grids: Mapping[str, Grid[Any]], scale: str = "demo", known: tuple[str, ...] = (), tables: tuple[str, ...] = ()
) -> Place[Any]:
    return Place(scale, grids.get, (*grids, *tables), lambda table, axis, label: label in known)


def grid(mixed: list[Values], plain: list[Values]) -> Grid[Values]:
    """Rows: data sets a, b, …; columns: Mixed and Plain."""
    names = "abcdefgh"[: len(mixed)]
    cells = {(name, "Mixed"): value for name, value in zip(names, mixed, strict=True)}
    cells |= {(name, "Plain"): value for name, value in zip(names, plain, strict=True)}
    return Grid(("Dataset", "Method"), cells)


def by_seed(*values: float) -> Values:
    return dict(enumerate(values, 1))
