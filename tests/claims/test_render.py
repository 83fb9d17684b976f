import json
import math
from collections.abc import Sequence
from typing import Any

import pytest

from dpmix.claims.judge import Finding, PairResult, PartResult
from dpmix.claims.render import (
    HOW,
    Judged,
    against,
    details,
    effect,
    markdown,
    number,
    own_numbers,
    summary,
    to_decide,
    to_json,
)
from dpmix.tables.captions import ACCURACY, MINUTES
from dpmix.tables.statistics import Interval
from tests.claims.made_up import claim

PAIRS = (PairResult("a", 1.5, Interval(1.5, 0.5, 2.5)), PairResult("b", -0.5, Interval(-0.5, -0.9, -0.1), against=True))


def part(label: str, low: float, estimate: float, high: float, verdict: Any = "undecided") -> PartResult:
    return PartResult(label, verdict, estimate, Interval(estimate, low, high), 0.7, 3, "", PAIRS)


NOT_PRINTED = Finding(None, why="it prints none of these cells")


def entry(runs: Finding, paper: Finding = NOT_PRINTED, unit: str = ACCURACY, **changes: Any) -> dict[str, Any]:
    values = to_json([Judged(claim(**changes), unit, runs, paper)], "demo")
    # Null for what is no number: the file is JSON for every reader.
    return json.loads(json.dumps(values, allow_nan=False))["claims"][0]


def undecided(*parts: PartResult, needed: float | None = 12) -> Finding:
    return Finding("undecided", parts, needed)


def test_json_has_the_claim_and_both_findings() -> None:
    found = entry(undecided(part("x", -0.1, 0.5, 1.1)), Finding("supported", (part("y", 1.0, 1.2, 1.4, "supported"),)))
    assert {key: found[key] for key in ("id", "claim", "where", "expects", "bounds", "margin", "unit")} == {
        "id": "mine", "claim": "Mixed is better.", "where": ["§1"], "expects": "greater", "bounds": [0.0, None],
        "margin": None, "unit": "points",
    }  # fmt: skip
    assert found["runs"]["seeds_needed"] == 12
    assert found["runs"]["parts"][0] == {
        "label": "x", "verdict": "undecided", "why": "", "estimate": 0.5, "low": -0.1, "high": 1.1, "sd": 0.7,
        "seeds": 3,
        "pairs": [{"label": "a", "against": False, "estimate": 1.5, "low": 0.5, "high": 2.5},
                  {"label": "b", "against": True, "estimate": -0.5, "low": -0.9, "high": -0.1}],
    }  # fmt: skip
    assert (found["paper"]["verdict"], found["paper"]["weakest"]) == ("supported", 0)


@pytest.mark.parametrize(
    ("needed", "stored", "said"),
    [(12, 12, "about 12"), (934, 934, "about 930"), (math.inf, "more than 1000", "more than 1000"),
     (None, None, "not known")],
)  # fmt: skip
def test_seeds_that_would_decide(needed: float | None, stored: Any, said: str) -> None:
    found = entry(undecided(part("x", -1, 0.5, 2), needed=needed))
    assert found["runs"]["seeds_needed"] == stored
    assert to_decide(found) == said


def test_a_claim_that_is_decided_needs_none() -> None:
    assert to_decide(entry(Finding("supported", (part("x", 1, 2, 3, "supported"),)))) == "–"
    assert to_decide(entry(Finding(None, why="this scale has none of its cells"))) == "–"


def test_ratios_are_ratios() -> None:
    ends = [math.log(value) for value in (1.25, 2.0, 3.2)]
    found = entry(undecided(part("x", *ends)), unit=MINUTES, compare="ratio")
    assert (found["unit"], found["bounds"], found["expected"]) == ("ratio", [1.0, None], "above 1")
    assert summary(found, "runs") == "×2.00 (×1.25 to ×3.20)"
    assert math.isclose(found["runs"]["parts"][0]["pairs"][0]["estimate"], math.exp(1.5), rel_tol=1e-6)


@pytest.mark.parametrize(
    ("low", "estimate", "high", "text"),
    [(-0.31, 1.25, 2.68, "+1.2 (−0.3 to +2.7)"), (-0.09, -0.04, 0.01, "−0.04 (−0.09 to +0.01)"),
     (-0.04, 0.0, 4.0, "0.0 (0.0 to +4.0)")],
)  # fmt: skip
def test_effects_have_signs_and_the_digits_that_they_need(low: float, estimate: float, high: float, text: str) -> None:
    assert effect({"estimate": estimate, "low": low, "high": high}, "points") == text


def test_a_narrow_ratio_has_a_digit_more() -> None:
    assert effect({"estimate": 1.00312, "low": 1.00123, "high": 1.00487}, "ratio") == "×1.003 (×1.001 to ×1.005)"


def test_effects_without_an_interval_or_a_number() -> None:
    assert effect({"estimate": -1.26, "low": None, "high": None}, "points") == "−1.3"
    assert effect({"estimate": None, "low": None, "high": None}, "points") == "–"
    assert number(0.999, "ratio") == "×0.999"


def test_of_several_parts_the_weakest_is_shown() -> None:
    found = entry(undecided(part("strong", 1.0, 2.0, 3.0, "supported"), part("weak", -1.0, 0.5, 2.0)))
    assert summary(found, "runs") == "+0.5 (−1.0 to +2.0), weak"
    assert against(found["runs"]) == ["strong: b", "weak: b"]


def test_what_the_papers_numbers_decide_is_said_with_its_reason() -> None:
    runs = undecided(part("x", -1, 0.5, 2))
    means = PartResult("y", "undecided", 4.9, None, None, 0, "it prints no standard deviations", ())
    paper = Finding("undecided", (means,), None, "it prints no standard deviations")
    assert own_numbers(entry(runs, paper)) == "undecided: it prints no standard deviations"
    assert summary(entry(runs, paper), "paper") == "+4.9"
    assert own_numbers(entry(runs)) == "not printed"
    assert summary(entry(runs), "paper") == "–"


def test_epsilon_is_counted() -> None:
    pairs = (PairResult("a", 0.0), PairResult("b", 0.002, against=True))
    runs = Finding("contradicted", (PartResult("x", "contradicted", 0.002, None, None, 3, "", pairs),))
    found = entry(runs, expects="same-epsilon")
    assert found["bounds"] is None
    assert summary(found, "runs") == "the same in 1 of 2 pairs of cells"
    assert "the largest relative difference of ε is 0.002" in details(found)[1]


def test_details_name_margin_parts_and_what_is_against_it() -> None:
    found = entry(undecided(part("x", -1, 0.5, 2)), expects="equal", margin=0.5, why="so it is")
    assert details(found) == [
        "expected: between −0.5 and 0.5 (0.5: so it is)",
        "here, x: +0.5 (−1.0 to +2.0), mean of 2 pairs of cells, 0 as claimed; undecided",
        "here, against it by themselves: b",
        "in the paper: it prints none of these cells",
    ]
    (_, line, *_) = details(entry(undecided(part("x", -1, 0.5, 2))))
    assert "mean of 2 pairs of cells, 1 as claimed" in line


def rows(text: str) -> list[Sequence[str]]:
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]


def test_the_page_has_a_row_for_each_claim_and_says_how() -> None:
    runs = undecided(part("x", -0.31, 1.25, 2.68))
    paper = Finding("supported", (part("y", 1.0, 1.2, 1.6, "supported"),))
    nothing = Finding(None, why="this scale has none of its cells")
    judged = [
        Judged(claim(says="One | or two."), ACCURACY, runs, paper),
        Judged(claim(id="other"), ACCURACY, nothing, paper),
    ]
    text = markdown(to_json(judged, "demo"))
    assert text.startswith("# The paper's claims at the scale demo\n")
    _, _, first, second = rows(text)
    assert first == ["One ∣ or two. (§1)", "undecided", "+1.2 (−0.3 to +2.7)", "3", "about 12", "+1.2 (+1.0 to +1.6)",
                     "supported"]  # fmt: skip
    assert second[1:5] == ["not asked", "this scale has none of its cells", "–", "–"]
    assert all(line in text for line in HOW)
    assert "**other**\n\n- expected: above 0\n- here: this scale has none of its cells\n" in text
