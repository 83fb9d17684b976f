"""When two tables agree: differences are held against the spread between seeds."""

import dataclasses
from collections.abc import Callable

import pytest
from scipy import stats

from dpmix.tables.agreement import LIMIT, Pair, compare, disagree, summary
from dpmix.tables.captions import MINUTES
from dpmix.tables.cells import Cell, Table
from dpmix.tables.published import PAPERS

ACCURACY = "test accuracy (%)"


def table(*cells: Cell, number: str = "3", unit: str = ACCURACY) -> Table:
    return Table(number, "T", "C", unit, ("Method",), ("ε",), cells, "demo")


def cell(*values: float, row: str = "Self-Aug", column: str = "ε = 1", note: str = "") -> Cell:
    return Cell((row,), (column,), values, note=note)


def beside(found: Cell, reference: Cell, unit: str = ACCURACY) -> Pair:
    (pair,) = compare(table(found, unit=unit), table(reference, unit=unit))
    return pair


def test_two_standard_deviations_are_what_the_documentation_says() -> None:
    # With three seeds each: the limit in standard errors of the difference, and how often chance alone passes it.
    t = LIMIT / (2 / 3) ** 0.5
    assert t == pytest.approx(2.45, abs=5e-3)
    assert 2 * stats.t.sf(t, df=4) == pytest.approx(0.07, abs=5e-3)
    assert 2 * stats.t.sf(t, df=4) == pytest.approx(1 / 14, abs=2e-3)


@pytest.mark.parametrize(("apart", "verdict"), [(0.0, "within"), (3.9, "within"), (-3.9, "within"), (4.1, "outside"),
                                                (-4.1, "outside")])  # fmt: skip
def test_means_within_two_standard_deviations_agree(apart: float, verdict: str) -> None:
    reference = (80.0, 82.0, 84.0)  # a standard deviation of 2
    pair = beside(cell(*(value + apart for value in reference)), cell(*reference))
    assert pair.verdict == verdict
    assert pair.same == (apart == 0)
    assert disagree([pair]) == ([pair] if verdict == "outside" else [])


def test_what_prints_the_same_agrees_without_any_spread() -> None:
    assert beside(cell(90.01, 90.01, 90.01), cell(90.04, 90.04, 90.04)).verdict == "within"
    assert beside(cell(90.1, 90.1, 90.1), cell(90.5, 90.5, 90.5)).verdict == "outside"


def test_a_cell_of_one_seed_is_judged_by_the_spread_of_the_other() -> None:
    assert beside(cell(85.9), cell(80.0, 82.0, 84.0)).verdict == "within"
    assert beside(cell(80.0, 82.0, 84.0), cell(86.1)).verdict == "outside"


def test_a_median_is_compared_with_a_median() -> None:
    found, reference = (dataclasses.replace(cell(*values), statistic="median") for values in
                        ((70.0, 80.0, 80.1), (80.0, 80.05, 90.0)))  # fmt: skip
    assert beside(found, reference).verdict == "within"
    assert beside(found, reference).found_text.startswith("80.0 ")


def test_cells_that_cannot_be_compared_say_why() -> None:
    assert beside(cell(1.6), cell(1.9)).verdict == "single"
    assert beside(cell(0.4, 0.5), cell(4.0, 5.0), unit=MINUTES).verdict == "time"
    assert beside(cell(note="not run"), cell(note="not installed")).verdict == "not run"
    for pair in (beside(cell(80.0, 81.0), cell(note="not run")), beside(cell(note="N/A"), cell(80.0, 81.0))):
        assert pair.verdict == "alone"
        assert disagree([pair]) == [pair]


def test_cells_are_matched_by_their_labels_in_the_references_order() -> None:
    one, two, three = (cell(80.0 + at, 81.0 + at, row=row) for at, row in enumerate(("A", "B", "C")))
    pairs = compare(table(three, two), table(one, two))
    assert [(pair.place[0], pair.verdict) for pair in pairs] == [("A", "alone"), ("B", "within"), ("C", "alone")]
    assert pairs[0].found is None
    assert pairs[2].reference is None


@pytest.mark.parametrize("number", PAPERS)
def test_every_table_agrees_with_itself(made: Callable[..., Table], number: str) -> None:
    pairs = compare(made(number), made(number))
    assert len(pairs) == len(made(number).cells)
    assert all(pair.same for pair in pairs)
    assert disagree(pairs) == []
    measured = [pair for pair in pairs if pair.verdict != "not run"]
    assert {pair.verdict for pair in measured} == {"time" if made(number).unit == MINUTES else "within"}


def test_the_summary_counts_and_names() -> None:
    reference = [cell(80.0, 82.0, 84.0, row=row) for row in ("A", "B", "C")]
    found = [reference[0], cell(81.0, 83.0, 85.0, row="B"), cell(90.0, 92.0, 94.0, row="C"), cell(50.0, row="D")]
    distances = ([cell(1.64, row="E"), cell(2.0, row="F")], [cell(1.9, row="E"), cell(2.0, row="F")])
    pairs = [
        *compare(table(*found), table(*reference)),
        *compare(table(*distances[0], number="7"), table(*distances[1], number="7")),
        *compare(table(cell(1.0), number="13", unit=MINUTES), table(cell(2.0), number="13", unit=MINUTES)),
        *compare(table(cell(note="not run"), number="11"), table(cell(note="not run"), number="11")),
    ]
    assert summary(pairs) == [
        "Within 2 standard deviations over seeds (pooled): 2 of 3 cells; 1 print the same.",
        "Further apart: 1.",
        "  Table 3, C, ε = 1: 92.0 (2.0), reference 82.0 (2.0)",
        "On one side only: 1.",
        "  Table 3, D, ε = 1: 50.0, reference –",
        "Without a standard deviation (one value): 2; 1 print the same; the furthest apart is Table 7, E, ε = 1: 1.6, "
        "reference 1.9.",
        "Not compared: running times (1), cells that were not run (1).",
    ]


def test_cells_of_other_params_are_not_all_listed() -> None:
    pairs = compare(table(*(cell(80.0, 81.0, row=str(row)) for row in range(15))), table(cell(80.0, 81.0, row="A")))
    lines = summary(pairs)
    assert lines[0] == "On one side only: 16."
    assert len(lines) == 12
    assert lines[-1] == "  and 6 more"


def test_a_difference_from_nothing_is_the_furthest() -> None:
    pairs = [*compare(table(cell(0.2, row="A"), cell(3.0, row="B")), table(cell(0.0, row="A"), cell(1.0, row="B")))]
    assert "the furthest apart is Table 3, A, ε = 1: 0.2, reference 0.0" in summary(pairs)[0]
