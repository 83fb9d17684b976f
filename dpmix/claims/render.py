"""Judged claims as JSON, from which the report is made, and as Markdown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpmix.claims.entries import Claim
from dpmix.claims.judge import Finding, PairResult, PartResult
from dpmix.claims.verdicts import MOST_SEEDS, bounds
from dpmix.tables.captions import ACCURACY
from dpmix.tables.statistics import Interval

EXPECTED = {
    "greater": "above 0",
    "not-less": "above −{margin:g}",
    "equal": "between −{margin:g} and {margin:g}",
    "falling": "above 0",
    "same-epsilon": "the same ε",
}


@dataclass(frozen=True)
class Judged:
    """A claim, the unit of its differences, and what runs and the paper's numbers say of it."""

    claim: Claim
    unit: str
    runs: Finding
    paper: Finding


def to_json(found: Sequence[Judged], scale: str) -> dict[str, Any]:
    """All of it as values for JSON. Ratios are ratios, not logarithms; what is not known is null."""
    return {"scale": scale, "confidence": 0.95, "claims": [_claim(one) for one in found]}


def _claim(one: Judged) -> dict[str, Any]:
    claim, ratio = one.claim, one.claim.compare == "ratio"
    allowed = bounds(claim.expects, claim.margin)
    limits = [_plain(limit, ratio) for limit in (allowed.low, allowed.high)]
    expected = "above 1" if ratio else EXPECTED[claim.expects].format(margin=claim.margin)
    return {
        "id": claim.id,
        "claim": claim.says,
        "where": list(claim.where),
        "expects": claim.expects,
        "expected": expected,
        "bounds": limits if claim.expects != "same-epsilon" else None,
        "margin": claim.margin,
        "why_margin": claim.why,
        "unit": "ratio" if ratio else "points" if one.unit == ACCURACY else one.unit,
        "runs": _finding(one.runs, claim, ratio),
        "paper": _finding(one.paper, claim, ratio),
    }


def _finding(finding: Finding, claim: Claim, ratio: bool) -> dict[str, Any]:
    weakest = finding.weakest(bounds(claim.expects, claim.margin))
    needed: int | str | None = None
    if finding.needed is not None:
        needed = f"more than {MOST_SEEDS}" if math.isinf(finding.needed) else int(finding.needed)
    return {
        "verdict": finding.verdict,
        "why": finding.why,
        "seeds_needed": needed,
        "weakest": finding.parts.index(weakest) if weakest is not None else None,
        "parts": [_part(part, ratio) for part in finding.parts],
    }


def _part(part: PartResult, ratio: bool) -> dict[str, Any]:
    return {
        "label": part.label,
        "verdict": part.verdict,
        "why": part.why,
        **_numbers(part.estimate, part.interval, ratio),
        "sd": part.sd,  # over seeds; of a ratio that of its logarithm
        "seeds": part.seeds,
        "pairs": [_pair(pair, ratio) for pair in part.pairs],
    }


def _pair(pair: PairResult, ratio: bool) -> dict[str, Any]:
    return {"label": pair.label, "against": pair.against, **_numbers(pair.estimate, pair.interval, ratio)}


def _numbers(estimate: float, interval: Interval | None, ratio: bool) -> dict[str, Any]:
    ends = (interval.low, interval.high) if interval is not None else (None, None)
    return {
        "estimate": _plain(estimate, ratio),
        "low": None if ends[0] is None else _plain(ends[0], ratio),
        "high": None if ends[1] is None else _plain(ends[1], ratio),
    }


def _plain(value: float, ratio: bool) -> float | None:
    """A number as JSON has it, to eight digits, which no processor's rounding reaches."""
    if ratio:
        value = math.exp(value) if value < 700 else math.inf
    return float(f"{value:.8g}") if math.isfinite(value) else None


# In words -------------------------------------------------------------------------------------------------------------


def number(value: float, unit: str, digits: int = 1) -> str:
    """A difference with its sign and so many digits after the point, or a ratio with two more digits in all.

    >>> number(-0.04, "points"), number(-0.04, "points", 2), number(3.4, "ratio")
    ('0.0', '−0.04', '×3.40')
    """
    if unit == "ratio":
        return f"×{value:#.{digits + 2}g}"
    text = f"{value:+.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def effect(part: Mapping[str, Any], unit: str) -> str:
    """An estimate with its interval: `+1.2 (−0.3 to +2.7)`; a narrow one with two digits after the point."""
    if part["estimate"] is None:
        return "–"
    text = number(part["estimate"], unit)
    if part["low"] is None:
        return text
    narrow = 0.02 if unit == "ratio" else 0.5
    digits = 2 if part["high"] - part["low"] < narrow else 1
    text, low, high = (number(part[name], unit, digits) for name in ("estimate", "low", "high"))
    return f"{text} ({low} to {high})"


def headline(finding: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The part that a claim's verdict hangs on: the one furthest from being supported. None without parts."""
    return None if finding["weakest"] is None else finding["parts"][finding["weakest"]]


def summary(claim: Mapping[str, Any], whose: str) -> str:
    """The effect that a verdict hangs on, in a few words.

    Args:
        claim: an entry of `to_json`.
        whose: `runs` or `paper`.
    """
    finding = claim[whose]
    part = headline(finding)
    if part is None:
        return finding["why"] if whose == "runs" else "–"
    if claim["expects"] == "same-epsilon":
        pairs = [pair for one in finding["parts"] for pair in one["pairs"]]
        same = sum(pair["estimate"] is not None and not pair["against"] for pair in pairs)
        return f"the same in {same} of {len(pairs)} pairs of cells"
    text = effect(part, claim["unit"])
    return f"{text}, {part['label']}" if len(finding["parts"]) > 1 else text


def to_decide(claim: Mapping[str, Any]) -> str:
    """How many seeds would decide a claim on this scale's runs."""
    runs = claim["runs"]
    if runs["verdict"] in (None, "supported", "contradicted"):
        return "–"
    needed = runs["seeds_needed"]
    if needed is None or isinstance(needed, str):
        return needed or "not known"
    return f"about {float(f'{needed:.2g}'):g}"


def own_numbers(claim: Mapping[str, Any]) -> str:
    """What the paper's own numbers decide, in words."""
    paper = claim["paper"]
    if paper["verdict"] is None:
        return "not printed"
    return f"{paper['verdict']}: {paper['why']}" if paper["why"] else str(paper["verdict"])


def against(finding: Mapping[str, Any]) -> list[str]:
    """The pairs of cells that by themselves contradict the claim."""
    many = len(finding["parts"]) > 1
    return [
        ": ".join(filter(None, (part["label"] if many else "", pair["label"])))
        for part in finding["parts"]
        for pair in part["pairs"]
        if pair["against"]
    ]


HOW = (
    "Verdicts are by 95 % intervals: differences of runs with the same seed, averaged over a claim's pairs of cells, "
    "then Student's t over seeds. Of several parts, each must hold; the one shown is furthest from it. Each claim is "
    "judged by itself: of claims that are not true, up to one in forty would still be called supported, and of claims "
    "that are true, as many contradicted.",
    "Effects are differences, of accuracy in percentage points; with × they are ratios.",
    "To decide: the seeds with which four of five repetitions would decide, were mean and spread as observed; from "
    "three seeds this is a rough guess.",
    "The paper's own numbers: intervals from its printed means, standard deviations and three runs, as if runs were "
    "independent, and wider by what rounding may hide.",
)


def markdown(values: Mapping[str, Any]) -> str:
    """A page with one row for each claim, then the parts of each.

    Args:
        values: what `to_json` gives.
    """
    lines = [f"# The paper's claims at the scale {values['scale']}", ""]
    lines += ["| Claim | Verdict | Effect here (95 %) | Seeds | To decide | Effect in the paper | Its own numbers |"]
    lines += ["| :-- | :-- | :-- | --: | --: | :-- | :-- |"]
    for claim in values["claims"]:
        part = headline(claim["runs"])
        seeds = str(part["seeds"]) if part else "–"
        cells = (
            f"{claim['claim']} ({'; '.join(claim['where'])})",
            claim["runs"]["verdict"] or "not asked",
            summary(claim, "runs"),
            seeds,
            to_decide(claim),
            summary(claim, "paper"),
            own_numbers(claim),
        )
        lines.append(f"| {' | '.join(cell.replace('|', '∣') for cell in cells)} |")
    lines += ["", *(f"{line}\n" for line in HOW), "## Part by part", ""]
    for claim in values["claims"]:
        lines += [f"**{claim['id']}**", "", *(f"- {line}" for line in details(claim)), ""]
    return "\n".join(lines).rstrip() + "\n"


def details(claim: Mapping[str, Any]) -> list[str]:
    """What was expected, and a line for each part, here and in the paper."""
    margin = f" ({claim['margin']:g}: {claim['why_margin']})" if claim["margin"] else ""
    lines = [f"expected: {claim['expected']}{margin}"]
    for whose, name in (("runs", "here"), ("paper", "in the paper")):
        finding = claim[whose]
        for part in finding["parts"]:
            if claim["expects"] == "same-epsilon":
                text = f"the largest relative difference of ε is {part['estimate'] or 0:.2g}"
            else:
                text = effect(part, claim["unit"])
            note = f"; {part['why']}" if part["why"] else ""
            lines.append(f"{name}, {part['label']}: {text}{_of_pairs(claim, part)}; {part['verdict']}{note}")
        if wrong := against(finding):
            lines.append(f"{name}, against it by themselves: {'; '.join(wrong)}")
        if not finding["parts"]:
            lines.append(f"{name}: {finding['why']}")
    return lines


def _of_pairs(claim: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    """Of how many pairs of cells it is the mean, and how many of them are as claimed."""
    count = len(part["pairs"])
    if count < 2 or claim["bounds"] is None:
        return ""
    low, high = claim["bounds"]
    as_claimed = sum(
        pair["estimate"] is not None and pair["estimate"] > low and (high is None or pair["estimate"] < high)
        for pair in part["pairs"]
    )
    return f", mean of {count} pairs of cells, {as_claimed} as claimed"
