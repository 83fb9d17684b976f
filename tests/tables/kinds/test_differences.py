import pytest

from dpmix.tables.kinds.differences import difference, differences
from dpmix.tables.statistics import paired_difference

HOW = "One minus Other, mean over seeds and its 95 % interval: "


def test_it_is_by_seed() -> None:
    """Two rows whose seeds deviate together differ by an exact number; in another order of seeds they do not."""
    one, other = (81.0, 91.0, 71.5), (80.0, 90.0, 70.0)
    found = paired_difference(one, other)
    expected = f"a: +{found.estimate:.1f} [+{found.low:.1f}, +{found.high:.1f}]."
    assert difference("One", "Other", {"a": (one, other)}) == HOW + expected
    assert "[−" in difference("One", "Other", {"a": (one, tuple(reversed(other)))})


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ((80.0, 81.0), (80.0, 81.0), "the same at each seed"),
        ((80.0,), (80.0,), "the same at each seed"),
        ((80.0,), (81.5,), "−1.5 (one seed)"),
        ((80.0, 81.0), (80.01, 81.01), "0.0 [0.0, 0.0]"),
    ],
)
def test_small_cases(one: tuple[float, ...], other: tuple[float, ...], words: str) -> None:
    assert difference("One", "Other", {"ε = 1": (one, other), "b": (one, other)}) == f"{HOW}ε = 1: {words}; b: {words}."


def test_rows_are_compared_in_the_columns_that_both_have() -> None:
    cells = {
        ("A | x", "ε = 1"): (81.0,), ("A | x", "ε = 8"): (90.0,),
        ("B", "ε = 8"): (90.5,), ("B", "ε = 4"): (1.0,),
        ("C", "ε = 4"): (3.0,),
    }  # fmt: skip
    how = "mean over seeds and its 95 % interval"
    assert differences({"A | x": ["B", "C"], "C": ["B"]}, cells) == [
        f"A, x minus B, {how}: ε = 8: −0.5 (one seed).",
        f"C minus B, {how}: ε = 4: +2.0 (one seed).",
    ]
    assert differences({}, cells) == []
