"""Pictures as images, without a browser: SVG for the page, which takes its colours, and files for papers."""

import functools
import json
import re
from pathlib import Path
from typing import Any

from dpmix.files import atomic_file
from dpmix.report.charts.base import Chart, Spec

LIGHT = {
    "page": "#ffffff", "panel": "#f5f6f8", "ink": "#1c2024", "soft": "#565d65", "line": "#d8dce1",
    "link": "#0b5cad", "edge": "#868e96", "call": "#fff6de", "call-line": "#c98a00", "agrees": "#e3f1e6",
    "differs": "#fbe4e1", "yes": "#17692f", "no": "#a8261b",
    "c0": "#666c73", "c1": "#0067a8", "c2": "#b84a00", "c3": "#00714f", "c4": "#9c3f7d", "c5": "#7a5c00",
    "c6": "#2b7a91", "c7": "#6a5acd", "c8": "#5e6b00",
}  # fmt: skip
"""The colours of a light page, by the names that specifications have for them."""

DARK = {
    "page": "#15181b", "panel": "#1d2125", "ink": "#e7eaed", "soft": "#a9b2bb", "line": "#363c43",
    "link": "#7db8f5", "edge": "#6d7681", "call": "#2b2412", "call-line": "#d7a13a", "agrees": "#1c3324",
    "differs": "#43221f", "yes": "#7fcf95", "no": "#ff9b8f",
    "c0": "#b3bac1", "c1": "#6fb7f2", "c2": "#f59a5c", "c3": "#52c9a2", "c4": "#e79bcd", "c5": "#dcbb55",
    "c6": "#7fd0e3", "c7": "#b3a8ff", "c8": "#b9c95c",
}  # fmt: skip
"""Those of a dark page."""

KINDS = ("svg", "png", "pdf")
"""The formats of files."""

_FONT = "DejaVu Sans, system-ui, sans-serif"

CONFIG: Spec = {
    "background": None,
    "font": _FONT,
    "view": {"stroke": "var(--line)"},
    "axis": {
        "labelColor": "var(--ink)", "titleColor": "var(--soft)", "domainColor": "var(--soft)",
        "tickColor": "var(--soft)", "gridColor": "var(--line)", "labelFontSize": 11, "titleFontSize": 11,
        "titleFontWeight": "normal", "labelSeparation": 4,
    },
    "axisYQuantitative": {"labelFlush": True},  # so that panels beside each other have one height
    "legend": {
        "labelColor": "var(--ink)", "titleColor": "var(--soft)", "orient": "top", "direction": "horizontal",
        "columns": 4, "labelFontSize": 12, "symbolSize": 70, "symbolOpacity": 1, "labelLimit": 260,
        "layout": {"top": {"direction": "vertical", "anchor": "start"}},
    },
    "header": {"labelColor": "var(--ink)", "labelFontSize": 12, "labelFontWeight": "bold", "labelAnchor": "start"},
    "title": {"color": "var(--ink)", "subtitleColor": "var(--soft)"},
    "text": {"color": "var(--ink)"},
}  # fmt: skip
"""How pictures look; part of every specification."""


def whole(chart: Chart) -> Spec:
    """A chart's specification with its look and its words."""
    return {**chart.spec, "config": CONFIG, "description": chart.title}


def svg(chart: Chart, within: str = "") -> str:
    """A chart as an `<svg>` element for the page, which gives it its colours and takes its words as its label.

    Args:
        chart: what is drawn.
        within: where it stands, if the page has it more than once.
    """
    found = _drawn(json.dumps(whole(chart)), f"{within}{chart.name}")
    # As wide as its place, but no wider than it was drawn, so that words have one size on all pictures.
    found = re.sub(r'\swidth="(\d+(?:\.\d+)?)"(?=[^>]*viewBox)', r' style="max-width: \1px"', found, count=1)
    return re.sub(r'\sheight="\d+(\.\d+)?"(?=[^>]*viewBox)', "", found, count=1)


@functools.lru_cache(maxsize=256)
def _drawn(spec: str, name: str) -> str:
    """A specification as SVG; one that was drawn before is not drawn again, as where a page is watched.

    The library counts the parts of all that it draws; here they are named after the picture, in their order in it, so
    that names differ on one page and are the same each time.
    """
    import vl_convert

    found = vl_convert.vegalite_to_svg(spec)
    # The page labels each picture as a whole.
    found = re.sub(r' (?:role|aria-roledescription|aria-label|aria-hidden)="[^"]*"', "", found)
    parts = list(dict.fromkeys(re.findall(r'\bid="((?:clip|gradient_)\d+)"', found)))
    names = {part: f"{name}-part{place}" for place, part in enumerate(parts, 1)}
    return re.sub(r"\b(?:clip|gradient_)\d+\b", lambda part: names.get(part[0], part[0]), found)


def write(chart: Chart, folder: Path, kinds: tuple[str, ...] = KINDS) -> list[Path]:
    """Write a chart in a light page's colours as `<name>.<kind>`, each file whole or not at all.

    Args:
        chart: what is drawn.
        folder: where.
        kinds: of `KINDS`.

    Returns:
        The paths.
    """
    import vl_convert

    spec = coloured(whole(chart), LIGHT)
    made = []
    for kind in kinds:
        path = folder / f"{chart.name}.{kind}"
        drawn: Any
        if kind == "svg":
            drawn = _drawn(json.dumps(spec), chart.name).encode()
        elif kind == "png":
            drawn = vl_convert.vegalite_to_png(spec, ppi=200)
        else:
            drawn = vl_convert.vegalite_to_pdf(spec)
        with atomic_file(path) as temporary:
            temporary.write_bytes(drawn)
        made.append(path)
    return made


def coloured(spec: Spec, colours: dict[str, str]) -> Spec:
    """A specification with colours in place of their names, on their page."""
    text = re.sub(r"var\(--([a-z0-9]+)\)", lambda found: colours[found[1]], json.dumps(spec))
    return {**json.loads(text), "background": colours["page"]}
