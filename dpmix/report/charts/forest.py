"""The effect of each claim with its 95 % interval, and what the paper's own numbers say of it: a forest plot."""

from collections.abc import Mapping, Sequence
from typing import Any

from dpmix.claims.entries import load
from dpmix.claims.render import headline, summary
from dpmix.report.charts.base import SCHEMA, VERDICTS, Chart, Spec, shown

_TITLES = {"points": "difference in accuracy (points)", "ratio": "ratio (logarithmic)"}


def forest(claims: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Claims as rows, those of one unit under one axis.

    Args:
        claims: as `claims.json` has them.

    Returns:
        None if no claim has an effect here.
    """
    briefs = {claim.id: shown(claim.brief) for claim in load() if claim.brief}
    rows = [row for claim in claims if (row := _row(claim, briefs)) is not None]
    if not rows:
        return None
    units = list(dict.fromkeys(row["unit"] for row in rows))
    counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in VERDICTS}
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    effects = "; ".join(f"{row['claim']}: {row['text']}, {row['verdict']}" for row in rows)
    return Chart(
        "claims",
        "The paper's claims, judged by these runs",
        f"Effects with 95 % intervals: {said}. {effects}.",
        {
            "$schema": SCHEMA, "data": {"values": rows}, "spacing": 14,
            "vconcat": [_of_unit(unit, [row for row in rows if row["unit"] == unit]) for unit in units],
        },
        panel=200, margin=215, filtered=False,
    )  # fmt: skip


def _row(claim: Mapping[str, Any], briefs: Mapping[str, str]) -> dict[str, Any] | None:
    part = headline(claim["runs"])
    if part is None or part["estimate"] is None or claim["bounds"] is None:
        return None
    found = {
        "claim": briefs.get(claim["id"], claim["id"].replace("-", " ")), "says": claim["claim"], "unit": claim["unit"],
        "verdict": claim["runs"]["verdict"], "value": part["estimate"], "text": summary(claim, "runs"),
        "expected": claim["expected"], "link": f"#claim-{claim['id']}", "limit": claim["bounds"][0],
    }  # fmt: skip
    if part["low"] is not None:
        found |= {"low": part["low"], "high": part["high"]}
    paper = headline(claim["paper"])
    if paper is not None and paper["estimate"] is not None:
        found["paper"] = paper["estimate"]
    return found


def _of_unit(unit: str, rows: list[dict[str, Any]]) -> Spec:
    """The rows of one unit; intervals that would squeeze the rest are cut at the picture's edge."""
    ratio = unit == "ratio"
    centers = [one[name] for one in rows for name in ("value", "paper", "limit") if one.get(name) is not None]
    low, high = min(centers), max(centers)
    room = max(high - low, 1.0)
    ends = [one[name] for one in rows for name in ("low", "high") if name in one]
    low = min([low, *(end for end in ends if end > low - 0.5 * room)])
    high = max([high, *(end for end in ends if end < high + 0.5 * room)])
    domain = [max(low, 1e-2) / 1.1, high * 1.1] if ratio else [low - 0.04 * room, high + 0.04 * room]
    scale: Spec = {"domain": domain, "nice": False, "clamp": True}
    scale |= {"type": "log"} if ratio else {"zero": False}
    x: Spec = {
        "field": "value", "type": "quantitative", "title": _TITLES.get(unit, unit), "scale": scale,
        "axis": {"tickCount": 5, "format": "~f"},
    }  # fmt: skip
    y: Spec = {
        "field": "claim", "type": "nominal", "title": None, "sort": None,
        "axis": {"labelLimit": 205, "ticks": False, "domain": False, "grid": True, "labelPadding": 8},
    }  # fmt: skip
    colour: Spec = {
        "field": "verdict", "type": "nominal", "title": None,
        "scale": {"domain": list(VERDICTS), "range": list(VERDICTS.values())},
    }  # fmt: skip
    told = [{"field": "says", "title": "claim"}, {"field": "text", "title": "here"}, {"field": "expected"},
            {"field": "verdict"}, {"field": "paper", "title": "the paper", "format": "+.2~f"}]  # fmt: skip
    return {
        "transform": [{"filter": f"datum.unit === {unit!r}"}],
        "width": 300, "height": {"step": 21},
        "layer": [
            {
                "mark": {"type": "tick", "color": "var(--ink)", "size": 17, "thickness": 1.5},
                "encoding": {"x": {**x, "field": "limit"}, "y": y},
            },
            {
                "transform": [{"filter": "isValid(datum.low)"}],
                "mark": {"type": "rule", "strokeWidth": 2.2, "clip": True},
                "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "y": y, "color": colour},
            },
            {
                "transform": [{"filter": "isValid(datum.paper)"}],
                "mark": {"type": "point", "shape": "diamond", "size": 52, "stroke": "var(--ink)", "strokeWidth": 1.2},
                "encoding": {"x": {**x, "field": "paper"}, "y": y, "tooltip": told},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 64, "opacity": 1, "cursor": "pointer"},
                "encoding": {
                    "x": x, "y": y, "color": colour, "tooltip": told,
                    "shape": {"field": "verdict", "type": "nominal", "title": None,
                              "scale": {"domain": list(VERDICTS), "range": ["circle", "cross", "square"]}},
                },
            },
        ],
    }  # fmt: skip
