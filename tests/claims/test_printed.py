import itertools
import math

import numpy as np
import pytest
from scipy import stats

from dpmix.claims.pairs import Pair
from dpmix.claims.printed import ROUNDED, SEEDS, centers, estimate, grid
from dpmix.tables.cells import PaperValue
from dpmix.tables.published import PAPERS, published, published_gradient_sd


def value(mean: float, sd: float | None) -> PaperValue:
    return PaperValue(mean, sd, f"{mean} ({sd})")


def pairs(*sides: tuple[PaperValue, PaperValue]) -> list[Pair[PaperValue]]:
    return [Pair(str(at), *both) for at, both in enumerate(sides)]


def test_one_pair_is_welchs_test_with_what_rounding_hides() -> None:
    first, second = value(78.7, 0.5), value(52.8, 0.1)
    found = estimate(pairs((first, second)))
    expected = stats.ttest_ind_from_stats(78.7, 0.5 + ROUNDED, SEEDS, 52.8, 0.1 + ROUNDED, SEEDS, equal_var=False)
    assert found.value == pytest.approx(25.9)
    assert found.value / found.error == pytest.approx(expected.statistic)
    # Its degrees of freedom, by the p value that they give.
    assert 2 * stats.t.sf(found.value / found.error, found.freedom) == pytest.approx(expected.pvalue)
    assert found.rounding == pytest.approx(2 * ROUNDED)


def test_rounding_is_what_the_worst_case_can_move() -> None:
    """Exact means anywhere within half of a last digit give estimates within the interval's `rounding`."""
    sides = [(value(70.1, 0.2), value(69.9, 0.3)), (value(60.2, 0.2), value(69.9, 0.3))]
    shared = sides[0][1]
    sides[1] = (sides[1][0], shared)
    found = estimate(pairs(*sides))
    moved = [
        (70.1 + a + 60.2 + b) / 2 - (69.9 + c) - found.value
        for a, b, c in itertools.product((-ROUNDED, ROUNDED), repeat=3)
    ]
    assert max(map(abs, moved)) == pytest.approx(found.rounding)


def test_a_mean_over_pairs_has_the_variance_of_its_cells() -> None:
    """By drawing the runs behind the cells; the second cell is in both pairs, so that its share is one."""
    a, b, c = value(70.0, 0.4), value(69.0, 0.6), value(68.0, 0.2)
    found = estimate(pairs((a, b), (c, b)))
    rng = np.random.default_rng(0)
    means = [rng.normal(one.mean, one.sd + ROUNDED, (200_000, SEEDS)).mean(axis=1) for one in (a, b, c)]
    drawn = (means[0] + means[2]) / 2 - means[1]
    assert found.value == pytest.approx(0.0)
    assert found.error == pytest.approx(drawn.std(), rel=0.01)
    terms = [(share * (one.sd + ROUNDED)) ** 2 / SEEDS for share, one in ((0.5, a), (-1, b), (0.5, c))]
    assert found.freedom == pytest.approx(sum(terms) ** 2 / sum(term**2 / (SEEDS - 1) for term in terms))


def test_ratios_are_compared_by_their_logarithms() -> None:
    first, second = value(4.0, 0.2), value(2.0, 0.05)
    found = estimate(pairs((first, second)), ratio=True)
    assert found.value == pytest.approx(math.log(2))
    assert found.error == pytest.approx(math.hypot((0.2 + ROUNDED) / 4, (0.05 + ROUNDED) / 2) / math.sqrt(SEEDS))
    assert found.rounding == pytest.approx(ROUNDED / 4 + ROUNDED / 2)


def test_means_alone_have_no_interval_but_a_difference() -> None:
    both = pairs((value(80.0, None), value(70.0, 0.1)), (value(81.0, 0.1), value(70.0, 0.1)))
    assert estimate(both) is None
    assert centers(both) == [10.0, 11.0]
    assert estimate([]) is None


@pytest.mark.parametrize("name", PAPERS)
def test_the_numbers_are_those_of_the_papers_tables(name: str) -> None:
    table, found = published(name), grid(name)
    assert found.axes == (*table.row_names, *table.column_names)
    assert found.cells == {row + column: one for (row, column), one in table.values.items() if one.mean is not None}
    assert len(found.cells) >= 3


def test_figure_2_has_its_text() -> None:
    found = grid("figure2")
    assert {key: one.mean for key, one in found.cells.items()} == dict(published_gradient_sd())
    assert all(one.sd is None for one in found.cells.values())
    assert grid("my-table") is None
