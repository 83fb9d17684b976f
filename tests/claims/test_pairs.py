from dataclasses import replace
from typing import Any

import pytest

from dpmix.claims.pairs import Contrast, Grid, contrasts
from dpmix.errors import ParamsError
from tests.claims.made_up import HIGHER, LOWER, claim, place

METHODS = ("Mixed", "Plain", "Other")
TWO = Grid(("Dataset", "Method", "ε"), {
    (data, method, eps): f"{data}/{method}/{eps}" for data in "ab" for method in METHODS for eps in ("1", "2")
})  # fmt: skip
# With its axes in another order, and for data set a alone.
THREE = Grid(("ε", "Kind", "Dataset"), {(eps, "Pre", "a"): f"{eps}/Pre/a" for eps in ("1", "2")})
GRIDS = {"2": TWO, "3": THREE}


def found(*parts: dict[str, Any], scale: str = "demo", known: tuple[str, ...] = ()) -> list[Contrast[str]]:
    return contrasts(claim(parts=list(parts)), place(GRIDS, scale, known, ("9",)))


def paired(contrast: Contrast[str]) -> list[tuple[str, str]]:
    return [(pair.higher, pair.lower) for pair in contrast.pairs]


def test_cells_with_the_same_labels_on_free_axes_make_pairs() -> None:
    (one,) = found({"higher": HIGHER, "lower": LOWER})
    assert paired(one) == [(f"{d}/Mixed/{e}", f"{d}/Plain/{e}") for d in "ab" for e in "12"]
    assert [pair.place for pair in one.pairs] == ["a, 1", "a, 2", "b, 1", "b, 2"]
    assert one.label == "Mixed over Plain"


def test_a_list_on_both_sides_limits_the_pairs() -> None:
    (one,) = found({"higher": {**HIGHER, "Dataset": ["b"]}, "lower": {**LOWER, "Dataset": ["b"]}})
    assert paired(one) == [(f"b/Mixed/{e}", f"b/Plain/{e}") for e in "12"]
    # A list on one side limits them too, where the other leaves the axis free.
    assert found({"higher": {**HIGHER, "Dataset": ["b"]}, "lower": LOWER}) == [one]


def test_a_list_against_one_label_is_a_part_for_each() -> None:
    both = found({"higher": HIGHER, "lower": {**LOWER, "Method": ["Plain", "Other"]}})
    assert [one.label for one in both] == ["Mixed over Plain", "Mixed over Other"]
    assert paired(both[1])[0] == ("a/Mixed/1", "a/Other/1")
    turned = found({"higher": {**HIGHER, "Method": ["Plain", "Other"]}, "lower": {**LOWER, "Method": "Mixed"}})
    assert [one.label for one in turned] == ["Plain over Mixed", "Other over Mixed"]


def test_tables_are_paired_by_the_names_of_their_axes() -> None:
    (one,) = found({"higher": HIGHER, "lower": {"table": "3", "Kind": "Pre"}})
    assert paired(one) == [("a/Mixed/1", "1/Pre/a"), ("a/Mixed/2", "2/Pre/a")]


def test_labels_by_scale() -> None:
    part = {"higher": {**HIGHER, "Dataset": {"demo": "a", "paper": "b"}},
            "lower": {**LOWER, "Dataset": {"demo": "a", "paper": "b"}}}  # fmt: skip
    assert [paired(found(part, scale=scale)[0])[0][0] for scale in ("demo", "paper")] == ["a/Mixed/1", "b/Mixed/1"]
    assert found(part, scale="mine") == []


def test_labels_tell_parts_apart() -> None:
    first = {"higher": {**HIGHER, "ε": 1}, "lower": {**LOWER, "ε": 1}}
    second = {"higher": {**HIGHER, "ε": 2}, "lower": {**LOWER, "ε": 2}}
    assert [one.label for one in found(first, second)] == ["ε = 1: Mixed over Plain", "ε = 2: Mixed over Plain"]
    third = {"higher": {**HIGHER, "Dataset": "a"}, "lower": {"table": "3", "Kind": "Pre", "Dataset": "a"}}
    fourth = {"higher": {"table": "3", "Kind": "Pre"}, "lower": LOWER}
    labels = [one.label for one in found(third, fourth)]
    assert labels == ["Table 2, a: Mixed over Pre", "Table 3: Pre over Plain"]


def test_names_of_the_params_stand_for_their_labels() -> None:
    grids = place(GRIDS, known=("Mixed",))
    named = replace(grids, named={"first": "a", "mixing": "Mixed"})
    part = {"higher": {"table": 2, "Method": "mixing", "Dataset": "first"}, "lower": {**LOWER, "Dataset": "first"}}
    (one,) = contrasts(claim(parts=[part]), named)
    assert (paired(one)[0], one.label) == (("a/Mixed/1", "a/Plain/1"), "Mixed over Plain")


def test_what_is_known_and_not_there_is_left_out() -> None:
    part = {"higher": HIGHER, "lower": {**LOWER, "Method": ["Plain", "Blurred"]}}
    assert [one.label for one in found(part, known=("Blurred",))] == ["Mixed over Plain"]
    assert found({"higher": {"table": "9"}, "lower": LOWER}) == []
    # So is what is like nothing that is there: params of one's own have other data sets.
    both = {"Dataset": ["b", "numbers"]}
    (one,) = found({"higher": {**HIGHER, **both}, "lower": {**LOWER, **both}})
    assert {pair.place for pair in one.pairs} == {"b, 1", "b, 2"}
    assert found({"higher": {**HIGHER, "Method": "Blurred"}, "lower": LOWER}, known=("Blurred",)) == []
    assert found({"higher": {"figure": "2"}, "lower": {"figure": "2"}}) == []


POINTS = [{"value": {"table": "2", "Method": method, "ε": 1}, "by": {"table": "2", "Method": method, "ε": 2}}
          for method in METHODS]  # fmt: skip


def test_points_are_compared_in_pairs_within_the_same_labels() -> None:
    (one,) = contrasts(claim(expects="falling", parts=[{"points": POINTS}]), place(GRIDS))
    ways = ("Mixed over Plain", "Mixed over Other", "Plain over Other")
    assert [pair.place for pair in one.pairs] == [f"{data}, {way}" for data in "ab" for way in ways]
    assert one.pairs[0].by == ("a/Mixed/2", "a/Plain/2")
    assert one.pairs[0].turned().place == "a, Plain over Mixed"
    assert one.pairs[0].turned().by == ("a/Plain/2", "a/Mixed/2")


@pytest.mark.parametrize(
    ("higher", "lower", "said"),
    [
        ({"table": "33"}, LOWER, "unknown table '33'; did you mean '3'?"),
        ({**HIGHER, "Metod": "Mixed"}, LOWER, "unknown axis 'Metod' of table 2; did you mean 'Method'?"),
        ({**HIGHER, "Method": "Mixd"}, LOWER, "unknown Method 'Mixd' in table 2 at scale demo; did you mean 'Mixed'?"),
        (
            HIGHER,
            {**LOWER, "Method": ["Plain", "Othr"]},
            "unknown Method 'Othr' in table 2 at scale demo; did you mean",
        ),
        ({**HIGHER, "Dataset": "a"}, LOWER, "Dataset has a label on one side only; give both sides one, or neither"),
        ({"table": "2"}, LOWER, "Method has a label on one side only"),
        ({"table": "2", "Method": ["Mixed", "Mixd"]}, LOWER, "unknown Method 'Mixd'"),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_name(higher: dict[str, Any], lower: dict[str, Any], said: str) -> None:
    with pytest.raises(ParamsError) as caught:
        found({"higher": higher, "lower": lower})
    assert str(caught.value).startswith(f"dpmix/claims/claims.yaml: mine: {said}")
    assert "\n" not in str(caught.value)


def test_so_is_one_of_a_point() -> None:
    uneven = [POINTS[0], {**POINTS[1], "by": {"table": "2", "Method": "Plain"}}]
    with pytest.raises(ParamsError, match=r"mine: ε differs between value and by of a point"):
        contrasts(claim(expects="falling", parts=[{"points": uneven}]), place(GRIDS))
