"""The report's section on the paper's claims, from `claims.json`: verdicts, and intervals as small pictures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape as html_escape
from pathlib import Path
from typing import Any

from dpmix.claims.render import HOW, against, details, headline, own_numbers, summary, to_decide
from dpmix.errors import DataError
from dpmix.files import read_json
from dpmix.tables.html import escape

_WIDTH, _HEIGHT, _EDGE = 320, 50, 12
_LINES = {"runs": 13, "paper": 29}


@dataclass(frozen=True)
class Card:
    """One claim on the page; all texts are HTML.

    Attributes:
        anchor: its id in the page.
        says: the claim.
        where: where the paper makes it.
        verdict: `supported`, `contradicted`, `undecided`, or `not asked`.
        facts: (what, text), such as the effect here.
        picture: an SVG of the intervals; empty if there are none.
        details: lines on its parts.
    """

    anchor: str
    says: str
    where: str
    verdict: str
    facts: tuple[tuple[str, str], ...]
    picture: str
    details: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """The section: how many claims have which verdict, how verdicts are made, and a card for each claim."""

    counts: str
    how: tuple[str, ...]
    cards: tuple[Card, ...]


def read_claims(path: Path) -> list[Mapping[str, Any]]:
    """The claims of a `claims.json`; none if there is no such file.

    Raises:
        DataError: if the file does not hold claims.
    """
    if not path.exists():
        return []
    try:
        claims = list(read_json(path)["claims"])
        section(claims)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise DataError(f"{path} does not hold claims ({error!r}); delete it and make it again") from error
    return claims


def section(claims: Sequence[Mapping[str, Any]]) -> Section | None:
    """The section for claims as `claims.json` has them; None without claims."""
    if not claims:
        return None
    cards = tuple(map(_card, claims))
    named = [card.verdict for card in cards]
    counts = ", ".join(f"{named.count(verdict)} {verdict}" for verdict in dict.fromkeys(sorted(named)))
    return Section(escape(counts), tuple(map(escape, HOW)), cards)


def _card(claim: Mapping[str, Any]) -> Card:
    runs, paper = claim["runs"], claim["paper"]
    part = headline(runs)
    seeds = f"; {part['seeds']} seeds" if part and part["seeds"] > 1 else "; one seed" if part else ""
    facts = [("here", summary(claim, "runs") + seeds)]
    if to_decide(claim) != "–":
        facts.append(("to decide", f"{to_decide(claim)} seeds" if runs["seeds_needed"] else to_decide(claim)))
    if paper["parts"]:
        facts.append(("in the paper", summary(claim, "paper")))
    facts.append(("the paper’s numbers", own_numbers(claim)))
    for name, finding in (("against it here", runs), ("against it in the paper", paper)):
        if wrong := against(finding):
            facts.append((name, "; ".join(wrong)))
    return Card(
        anchor=f"claim-{claim['id']}",
        says=escape(claim["claim"]),
        where=escape("; ".join(claim["where"])),
        verdict=runs["verdict"] or "not asked",
        facts=tuple((what, escape(text)) for what, text in facts),
        picture=_picture(claim),
        details=tuple(map(escape, details(claim))),
    )


def _picture(claim: Mapping[str, Any]) -> str:
    """Two lines, here and below it the paper: an interval with its mean, on an axis that shows what is claimed."""
    parts = {whose: headline(claim[whose]) for whose in _LINES}
    shown = {whose: part for whose, part in parts.items() if part is not None and part["estimate"] is not None}
    if claim["bounds"] is None or not shown:
        return ""
    log = claim["unit"] == "ratio"

    def along(value: float) -> float:
        return math.log(max(value, 1e-9)) if log else value

    limits = [along(limit) for limit in claim["bounds"] if limit is not None]
    ends = [along(value) for part in shown.values() for value in _three(part)]
    low, high = min(*limits, *ends), max(*limits, *ends)
    span = (high - low) or 1.0

    def x(value: float) -> str:
        return f"{_EDGE + (along(value) - low) / span * (_WIDTH - 2 * _EDGE):.1f}"

    left = x(claim["bounds"][0])
    right = f"{_WIDTH:.1f}" if claim["bounds"][1] is None else x(claim["bounds"][1])
    marks = [f'<rect class="claimed" x="{left}" y="2" width="{float(right) - float(left):.1f}" height="34"/>']
    for limit in claim["bounds"]:
        if limit is not None:
            marks.append(f'<line class="limit" x1="{x(limit)}" x2="{x(limit)}" y1="2" y2="36"/>')
            anchor = "middle" if 20 < float(x(limit)) < _WIDTH - 20 else "start" if float(x(limit)) <= 20 else "end"
            marks.append(f'<text x="{x(limit)}" y="48" text-anchor="{anchor}">{_minus(limit)}</text>')
    for whose, part in shown.items():
        y = _LINES[whose]
        if part["low"] is not None:
            marks.append(f'<line class="{whose}" x1="{x(part["low"])}" x2="{x(part["high"])}" y1="{y}" y2="{y}"/>')
        marks.append(f'<circle class="{whose}" cx="{x(part["estimate"])}" cy="{y}" r="4"/>')
    words = "; ".join(f"{'here' if whose == 'runs' else 'the paper'} {summary(claim, whose)}" for whose in shown)
    label = html_escape(f"Expected {claim['expected']}; {words}")
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(marks)}</svg>'


def _minus(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _three(part: Mapping[str, Any]) -> list[float]:
    return [part[name] for name in ("low", "estimate", "high") if part[name] is not None]
