"""What a table says of learning rates that were chosen at an end of their grid."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpmix.tables.rates import Choice, end_of_grid, footer

GRID = (0.5, 1.0, 8.0, 2.0)
positive = st.floats(1e-6, 1e6)


def choice(row: str, column: str, chosen: float, grid: tuple[float, ...] = GRID) -> Choice:
    return Choice((row,) if row else (), (column,) if column else (), chosen, grid)


@given(st.lists(positive, min_size=2, unique=True), positive)
def test_an_end_is_the_least_or_the_greatest_value_in_whatever_order(grid: list[float], clip_norm: float) -> None:
    ordered = sorted(grid)
    # As a table does it: the rates were divided by C, and come back multiplied by it.
    chosen = [value / clip_norm * clip_norm for value in ordered]
    if ordered[0] * (1 + 1e-8) < ordered[1] and ordered[-2] * (1 + 1e-8) < ordered[-1]:
        ends = [end_of_grid(value, grid) for value in chosen]
        assert ends == ["smallest", *[None] * (len(grid) - 2), "largest"]


@given(positive, st.integers(1, 3))
def test_a_grid_of_one_value_has_no_ends(value: float, times: int) -> None:
    assert end_of_grid(value, [value] * times) is None


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ([], None),
        ([choice("a", "x", 1), choice("b", "x", 2)], "0.5 to 8; none was chosen at an end."),
        ([choice("a", "x", 8), choice("b", "x", 2)], "0.5 to 8; the largest was chosen for a."),
        ([choice("a", "x", 8), choice("a", "y", 2)], "0.5 to 8; the largest was chosen for a (x)."),
        ([choice("a", "x", 0.5), choice("b", "x", 0.5)], "0.5 to 8; the smallest was chosen for all cells."),
        (
            [choice("a", "x", 8), choice("a", "y", 8), choice("a", "z", 0.5), choice("b", "x", 8), choice("b", "y", 8)],
            "0.5 to 8; the largest was chosen for a (x; y), b, and the smallest was chosen for a (z).",
        ),
        ([choice("", "x", 8), choice("", "y", 8), choice("", "z", 1)], "0.5 to 8; the largest was chosen for x; y."),
        ([choice("a", "", 8), choice("b", "", 1)], "0.5 to 8; the largest was chosen for a."),
        (
            [choice("a", "x", 1), choice("b", "x", 9, (3, 9))],
            "0.5 to 8 and 3 to 9; the largest was chosen for b.",
        ),
    ],
)
def test_the_footer_names_every_cell_at_an_end(choices: list[Choice], said: str | None) -> None:
    assert footer(choices) == (said and f"Learning rates: lr·C from {said}")


def test_labels_of_several_levels_stand_side_by_side() -> None:
    rows = [("digits", "Mixed Ghost"), ("digits", "")]
    choices = [Choice(row, ("Tiny ViT", f"ε = {n}"), 8 if n else 1, GRID) for row in rows for n in (0, 1, 2)]
    assert footer(choices) == (
        "Learning rates: lr·C from 0.5 to 8; the largest was chosen for digits / Mixed Ghost (Tiny ViT, ε = 1; "
        "Tiny ViT, ε = 2), digits (Tiny ViT, ε = 1; Tiny ViT, ε = 2)."
    )
