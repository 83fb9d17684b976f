import math
from typing import Any

import numpy as np
import pytest

from dpmix.claims.entries import Claim
from dpmix.claims.judge import Finding, of_paper, of_runs
from dpmix.claims.pairs import Grid, contrasts
from dpmix.claims.verdicts import MOST_SEEDS, bounds, seeds_needed
from dpmix.errors import DataError
from dpmix.tables.cells import PaperValue
from dpmix.tables.statistics import mean_interval, paired_difference
from tests.claims.made_up import HIGHER, LOWER, Values, by_seed, claim, grid, place

SAME = {"expects": "same-epsilon"}
EQUAL = {"expects": "equal", "margin": 0.5, "why": "so"}
NOT_LESS = {"expects": "not-less", "margin": 0.5, "why": "so"}


def same(cell: Any) -> Any:
    return cell


def judged(mine: Claim, *tables: Grid[Values]) -> Finding:
    return of_runs(mine, contrasts(mine, place(dict(zip("23456", tables, strict=False)))), same, same)


def one_table(mixed: list[Values], plain: list[Values], **changes: Any) -> Finding:
    return judged(claim(**changes), grid(mixed, plain))


PLAIN = [by_seed(70.0, 72.0, 71.0), by_seed(50.0, 54.0, 52.5)]


def lifted(*by: float) -> list[Values]:
    """The plain values plus something for each seed, whatever the data set."""
    return [{seed: value + by[seed - 1] for seed, value in row.items()} for row in PLAIN]


@pytest.mark.parametrize(
    ("by", "changes", "verdict"),
    [
        ((2.0, 2.2, 1.9), {}, "supported"),
        ((-2.0, -2.2, -1.9), {}, "contradicted"),
        ((2.0, -1.0, 0.5), {}, "undecided"),
        ((-0.1, -0.2, -0.15), {}, "contradicted"),
        ((-0.1, -0.2, -0.15), NOT_LESS, "supported"),
        ((-2.0, -2.2, -1.9), NOT_LESS, "contradicted"),
        ((0.1, -0.1, 0.05), EQUAL, "supported"),
        ((2.0, 2.2, 1.9), EQUAL, "contradicted"),
        ((-2.0, -2.2, -1.9), EQUAL, "contradicted"),
        ((0.5, 0.6, 0.3), EQUAL, "undecided"),
    ],
)
def test_known_effects_have_their_verdicts(by: tuple[float, ...], changes: dict[str, Any], verdict: str) -> None:
    assert one_table(lifted(*by), PLAIN, **changes).verdict == verdict


def test_seeds_are_averaged_over_pairs_first() -> None:
    """What differs between data sets, and what seeds share across methods, is no spread."""
    mixed = [by_seed(71.0, 73.5, 72.0), by_seed(55.0, 58.0, 57.5)]
    (part,) = one_table(mixed, PLAIN).parts
    expected = mean_interval([(1.0 + 5.0) / 2, (1.5 + 4.0) / 2, (1.0 + 5.0) / 2])
    assert (part.estimate, part.interval.low, part.interval.high) == pytest.approx(
        (expected.estimate, expected.low, expected.high)
    )
    assert part.seeds == 3
    each = [paired_difference(list(a.values()), list(b.values())) for a, b in zip(mixed, PLAIN, strict=True)]
    assert [(pair.label, pair.estimate) for pair in part.pairs] == [("a", each[0].estimate), ("b", each[1].estimate)]
    assert [pair.interval.low for pair in part.pairs] == pytest.approx([one.low for one in each])


def test_values_are_paired_by_seed_whatever_their_order() -> None:
    plain = [by_seed(70.0, 75.0, 80.0)]
    mixed = [{3: 82.1, 1: 72.0, 2: 76.9, 9: 5.0}]
    (part,) = one_table(mixed, plain).parts
    assert part.seeds == 3
    assert part.estimate == pytest.approx(2.0)
    assert part.verdict == "supported"


def test_a_pair_that_is_against_the_claim_by_itself_is_named() -> None:
    mixed = [by_seed(90.0, 92.1, 91.05), by_seed(49.0, 53.02, 51.51)]
    found = one_table(mixed, PLAIN)
    assert found.verdict == "supported"
    assert [(pair.label, pair.against) for pair in found.parts[0].pairs] == [("a", False), ("b", True)]


def test_one_seed_or_none_in_common_decides_nothing() -> None:
    one = one_table([by_seed(80.0)], [by_seed(70.0)])
    assert (one.verdict, one.parts[0].estimate, one.parts[0].interval) == ("undecided", 10.0, None)
    assert (one.why, one.needed) == ("one seed has no spread", None)
    none = one_table([{1: 80.0, 2: 81.0}], [{3: 70.0, 4: 71.0}])
    assert (none.verdict, none.why, none.needed) == ("undecided", "its cells have no seed in common", None)


def test_the_same_difference_in_every_seed_decides_nothing() -> None:
    found = one_table(lifted(2.0, 2.0, 2.0), PLAIN)
    assert (found.verdict, found.needed) == ("undecided", None)
    assert "every seed gives the same difference" in found.why


@pytest.mark.parametrize("changes", [{}, {"compare": "ratio"}, EQUAL])
def test_a_spread_of_rounding_is_none(changes: dict[str, Any]) -> None:
    """A third and a sixth of the images, as records keep them: the difference is one sixth at every seed."""
    found = one_table([by_seed(33.333333, 50.0)], [by_seed(16.666667, 33.333333)])
    assert (found.verdict, found.needed) == ("undecided", None)
    assert "every seed gives the same difference" in found.why
    same = one_table([by_seed(66.666667, 66.666666)], [by_seed(33.333333, 33.333333)], **changes)
    assert same.verdict == "undecided"


def test_points_without_an_order_decide_nothing() -> None:
    """A distance that is the same for all, or that no run left."""
    points = [{"value": {"table": name, "Method": "Mixed"}, "by": {"table": name, "Method": "Plain"}} for name in "23"]
    mine = claim(expects="falling", parts=[{"points": points}])
    for by in (by_seed(4.0, 4.0), {}):
        tables = [grid([by_seed(80.0 + at, 81.0)], [by]) for at in range(2)]
        found = judged(mine, *tables)
        assert (found.verdict, found.parts) == ("undecided", ())
        assert found.why == "no two of its points differ in what they should be ordered by"


def test_a_ratio_of_no_time_is_one_line() -> None:
    with pytest.raises(DataError, match=r"a ratio of 0 and 3 says nothing; delete the runs"):
        one_table([by_seed(0.0, 1.0)], [by_seed(3.0, 2.0)], compare="ratio")


def test_a_scale_without_its_cells_has_no_verdict() -> None:
    assert of_runs(claim(), [], same, same) == Finding(None, why="this scale has none of its cells")
    assert of_paper(claim(), []).verdict is None


# Several parts --------------------------------------------------------------------------------------------------------

PARTS = {"parts": [{"higher": {**HIGHER, "table": name}, "lower": {**LOWER, "table": name}} for name in "23"]}


@pytest.mark.parametrize(
    ("first", "second", "verdict", "weakest"),
    [
        ((2.0, 2.2, 1.9), (1.0, 1.2, 1.1), "supported", 1),
        ((2.0, 2.2, 1.9), (1.0, -1.2, 1.1), "undecided", 1),
        ((-2.0, -2.2, -1.9), (1.0, -1.2, 1.1), "contradicted", 0),
        ((-2.0, -2.2, -1.9), (5.0, -9.0, 1.1), "contradicted", 0),
    ],
)
def test_every_part_must_hold(first: Any, second: Any, verdict: str, weakest: int) -> None:
    found = judged(claim(**PARTS), grid(lifted(*first), PLAIN), grid(lifted(*second), PLAIN))
    assert found.verdict == verdict
    assert found.weakest(bounds("greater")) is found.parts[weakest]


def sd_of(*values: float) -> float:
    return float(np.std(values, ddof=1))


def test_the_seeds_that_decide_are_those_of_the_part_that_needs_most() -> None:
    strong, weak = (1.0, 2.2, 0.9), (0.6, -0.2, 0.7)
    found = judged(claim(**PARTS), grid(lifted(*strong), PLAIN), grid(lifted(*weak), PLAIN))
    needs = [seeds_needed(float(np.mean(by)), sd_of(*by), bounds("greater")) for by in (strong, weak)]
    assert found.needed == max(needs) > min(needs)
    # A part whose mean is not as claimed must be contradicted, at the level of one of two parts.
    wrong = (-0.6, 0.2, -0.7)
    found = judged(claim(**PARTS), grid(lifted(*strong), PLAIN), grid(lifted(*wrong), PLAIN))
    needed = seeds_needed(-sum((0.6, -0.2, 0.7)) / 3, sd_of(*wrong), bounds("greater"), 0.975)
    assert found.needed == needed
    # Of several such parts one is enough, and the first that is decides.
    slower = (-0.6, 0.5, -0.7)
    found = judged(claim(**PARTS), grid(lifted(*slower), PLAIN), grid(lifted(*wrong), PLAIN))
    assert found.needed == needed < seeds_needed(-0.8 / 3, sd_of(*slower), bounds("greater"), 0.975)


def test_no_effect_needs_more_seeds_than_anyone_runs() -> None:
    found = one_table(lifted(1.0, -1.0, 0.01), PLAIN)
    assert (found.verdict, found.needed) == ("undecided", math.inf)
    assert MOST_SEEDS == 1000
    assert one_table(lifted(2.0, 2.2, 1.9), PLAIN).needed is None


# Other comparisons ----------------------------------------------------------------------------------------------------


def test_ratios_are_of_logarithms() -> None:
    mixed = [{seed: value * (1.9 + seed / 10) for seed, value in row.items()} for row in PLAIN]
    (part,) = one_table(mixed, PLAIN, compare="ratio").parts
    expected = mean_interval([math.log(1.9 + seed / 10) for seed in (1, 2, 3)])
    assert (part.estimate, part.interval.low) == pytest.approx((expected.estimate, expected.low))
    assert part.verdict == "supported"


NAMES = ("Mixed", "Plain", "Other")
POINTS = [{"value": {"table": "2", "Method": name}, "by": {"table": "3", "Method": name}} for name in NAMES]


def falling(values: list[Values], by: list[float]) -> Finding:
    cells = {(("a"), name): value for name, value in zip(NAMES, values, strict=True)}
    distances = {("a", name): {0: value} for name, value in zip(NAMES, by, strict=True)}
    axes = ("Dataset", "Method")
    return judged(claim(expects="falling", parts=[{"points": POINTS}]), Grid(axes, cells), Grid(axes, distances))


def test_a_value_that_falls_as_another_rises_is_supported() -> None:
    values = [by_seed(80.0, 81.0, 80.5), by_seed(70.0, 71.2, 70.5), by_seed(60.0, 61.1, 60.5)]
    found = falling(values, [1.0, 2.0, 3.0])
    assert found.verdict == "supported"
    assert [pair.label for pair in found.parts[0].pairs] == [
        "a, Mixed over Plain", "a, Mixed over Other", "a, Plain over Other"
    ]  # fmt: skip
    assert found.parts[0].estimate == pytest.approx((10 + 20 + 10) / 3, abs=0.1)
    turned = falling(values, [3.0, 2.0, 1.0])
    assert turned.verdict == "contradicted"
    assert turned.parts[0].pairs[0].label == "a, Plain over Mixed"
    # Equal distances order nothing.
    assert len(falling(values, [1.0, 1.0, 2.0]).parts[0].pairs) == 2


def test_the_same_epsilon_is_the_same_for_every_seed() -> None:
    spent = [by_seed(0.9995, 0.9994), by_seed(2.0, 1.9999)]
    found = one_table(spent, spent, **SAME)
    assert (found.verdict, found.parts[0].estimate) == ("supported", 0.0)
    more = [by_seed(0.9995, 0.9994), by_seed(2.0, 2.0)]  # the largest is the same, but not seed by seed
    found = one_table(spent, more, **SAME)
    assert found.verdict == "contradicted"
    assert [pair.against for pair in found.parts[0].pairs] == [False, True]
    found = one_table([{1: 1.0}], [{2: 1.0}], **SAME)
    assert (found.verdict, found.parts[0].why) == ("undecided", "its cells have no seed in common")
    assert one_table([by_seed(math.inf, 0.0)], [by_seed(math.inf, 0.0)], **SAME).verdict == "supported"
    assert one_table([by_seed(1.0)], [by_seed(0.0)], **SAME).verdict == "contradicted"
    assert one_table([by_seed(math.inf)], [by_seed(8.0)], **SAME).verdict == "contradicted"


# The paper's numbers --------------------------------------------------------------------------------------------------


def printed(mixed: tuple[float, float | None], plain: tuple[float, float | None], **changes: Any) -> Finding:
    cells = {("a", "Mixed"): PaperValue(*mixed, ""), ("a", "Plain"): PaperValue(*plain, "")}
    mine = claim(**changes)
    return of_paper(mine, contrasts(mine, place({"2": Grid(("Dataset", "Method"), cells)})))


@pytest.mark.parametrize(
    ("mixed", "plain", "changes", "verdict"),
    [
        ((80.0, 0.3), (78.0, 0.2), {}, "supported"),
        ((78.0, 0.3), (80.0, 0.2), {}, "contradicted"),
        ((80.0, 0.3), (79.7, 0.2), {}, "undecided"),
        ((80.0, 0.0), (80.0, 0.0), EQUAL, "supported"),
        ((80.0, 0.0), (80.1, 0.0), {}, "undecided"),  # as far as rounding may have moved both
        ((80.0, None), (70.0, None), {}, "undecided"),
        ((80.0, 0.3), (78.0, None), {}, "undecided"),
        ((80.0, 0.3), (78.0, 0.2), SAME, "undecided"),
    ],
)
def test_printed_numbers_decide_what_they_can(mixed: Any, plain: Any, changes: dict[str, Any], verdict: str) -> None:
    found = printed(mixed, plain, **changes)
    assert (found.verdict, found.needed) == (verdict, None)
    if mixed[1] is None or plain[1] is None:
        assert found.why == "it prints no standard deviations"
        assert found.parts[0].estimate == mixed[0] - plain[0]


# How often verdicts are wrong -----------------------------------------------------------------------------------------


def draws(rng: np.random.Generator, parts: int, effect: float = 0.0) -> list[Grid[Values]]:
    """Three seeds of eight cells, with spread that cells share, spread that pairs share, and spread of their own."""
    shared = rng.normal(0, 2, 3)
    tables = []
    for _ in range(parts):
        cells = {}
        for at in range(4):
            pair, gain = rng.normal(0, 1, 3), rng.normal(0, 0.3, 3)
            for name, more in (("Mixed", effect + gain), ("Plain", 0.0)):
                cells[f"{at}", name] = dict(enumerate(80 + shared + pair + more + rng.normal(0, 0.5 + at, 3)))
        tables.append(Grid(("Dataset", "Method"), cells))
    return tables


def share(verdict: str, changes: dict[str, Any], parts: int, effect: float, count: int) -> float:
    rng = np.random.default_rng(parts)
    found = [judged(claim(**changes), *draws(rng, parts, effect)).verdict for _ in range(count)]
    return found.count(verdict) / count


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
def test_what_is_not_true_is_rarely_supported_or_contradicted(parts: int) -> None:
    """Without any effect: no more than 2.5 % supported and, of several parts too, 5 % contradicted."""
    changes, count = (PARTS if parts == 2 else {}), 1000
    four_errors = 4 * math.sqrt(0.025 * 0.975 / count)
    supported = share("supported", changes, parts, 0.0, count)
    assert supported <= 0.025 + four_errors
    if parts == 1:
        assert supported >= 0.025 - four_errors
    assert share("contradicted", changes, parts, 0.0, count) <= 0.025 + four_errors


@pytest.mark.slow
@pytest.mark.parametrize("changes", [NOT_LESS, EQUAL])
def test_at_the_margin_the_same_holds(changes: dict[str, Any]) -> None:
    count = 1000
    bound = 0.025 + 4 * math.sqrt(0.025 * 0.975 / count)
    assert share("supported", changes, 1, -0.5, count) <= bound
    assert share("contradicted", changes, 1, -0.5, count) <= bound
