"""Tables that cannot be are one line."""

import copy
from typing import Any

import pytest

from tests.params.mistakes import Raw, message, put


def test_the_paper_has_thirteen_tables_and_two_figures(raw: Raw) -> None:
    demo = raw["scales"]["demo"]
    line = message(put(copy.deepcopy(raw), "scales/demo/tables/14", demo["tables"]["9"]))
    assert line == (
        "params.yaml: scales.demo.tables.14: a table is named 1 to 13, as the paper's, or by lower-case words joined "
        "by underscores (at most 60 characters), such as my_clipping; rename or remove it"
    )
    line = message(put(copy.deepcopy(raw), "scales/demo/figures/3", demo["figures"]["2"]))
    assert line == "params.yaml: scales.demo.figures.3: the paper has no such figure, only 1 and 2; rename or remove it"


def test_a_table_needs_a_kind_a_data_set_and_an_epsilon(raw: Raw) -> None:
    table = raw["scales"]["demo"]["tables"]["9"]
    del table["fixed"]["epsilon"]
    assert message(raw).startswith("params.yaml: table 9, 2 / 2 / 0: epsilon is not set")
    del table["fixed"]["dataset"]
    assert message(raw) == (
        "params.yaml: table 9, 2 / 2 / 0: no dataset is given; name one in a row, a column or fixed"
    )
    del table["kind"]
    assert message(raw) == "params.yaml: scales.demo.tables.9: kind is needed, but not there; add it"


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("scales/demo/tables/9/kind", "acuracy", "tables.9: unknown kind 'acuracy'; did you mean 'accuracy'?"),
        ("scales/demo/tables/7/methods/Self-Aug/epsilon", 2, "table 7, Self-Aug: epsilon changes no view; remove it"),
        ("scales/demo/tables/9/columns", [], "table 9: its columns have 0 levels, not the 3 of table 9"),
        ("scales/demo/tables/9/columns/0", {"axis": "K"}, "axis 'K' needs exactly one list of values, not none"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(raw: Raw, place: str, value: Any, words: str) -> None:
    assert words in message(put(raw, place, value))
