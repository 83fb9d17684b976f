"""Rows that a table of kind `accuracy`, `released` or `model-mix` is to compare are there, and are two."""

from pathlib import Path

import pytest
import yaml

from dpmix.catalogue.catalogue import Catalogue
from dpmix.errors import ParamsError
from dpmix.params.read import parse
from dpmix.tables.kinds.compared import ComparedTable

KINDS = ["accuracy", "released", "model-mix"]


def catalogue(repository: Path, kind: str, compare: dict[str, list[str]]) -> Catalogue:
    """The demo with one table of this kind."""
    raw = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    table = {
        "kind": kind,
        "title": "Mine",
        "rows": [{"axis": "Method | C", "values": {"A | 1": {"clip_norm": 1}, "A | 2": {"clip_norm": 2}}}],
        "columns": [{"axis": "ε", "epsilon": [2]}],
        "fixed": {"dataset": "digits-300", "model": "tiny-vit", "method": "self-aug"},
        "compare": compare,
    }
    raw["scales"]["demo"] |= {"tables": {"mine": table}, "figures": {}}
    return Catalogue(parse(raw))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_named_by_all_their_labels(kind: str, repository: Path) -> None:
    table = catalogue(repository, kind, {"A | 2": ["A | 1"]}).spec.tables["mine"]
    assert isinstance(table, ComparedTable)
    assert dict(table.compare) == {"A | 2": ("A | 1",)}


@pytest.mark.parametrize("kind", KINDS)
def test_other_rows_make_another_table(kind: str, repository: Path) -> None:
    """Else a finished table would go on to show the differences of the rows that were named before."""
    one, other = ({"A | 2": ["A | 1"]}, {"A | 1": ["A | 2"]})
    prints = {catalogue(repository, kind, rows).fingerprint("table_mine") for rows in (one, other, {})}
    assert len(prints) == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("compare", "words"),
    [
        ({"A | 3": ["A | 1"]}, "unknown row 'A | 3' in compare of table mine; did you mean 'A | "),
        ({"A | 1": ["A"]}, "unknown row 'A' in compare of table mine"),
        ({"A | 1": ["A | 1"]}, "compare of table mine: A | 1 is compared with itself; name another row"),
    ],
)
def test_what_does_not_fit_is_one_line(kind: str, compare: dict[str, list[str]], words: str, repository: Path) -> None:
    with pytest.raises(ParamsError) as caught:
        catalogue(repository, kind, compare)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
