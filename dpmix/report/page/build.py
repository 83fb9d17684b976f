"""Writes `index.html`: all of a report on a page that needs no network and no other file."""

import base64
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dpmix.catalogue.catalogue import Catalogue
from dpmix.files import write_text
from dpmix.report import claims
from dpmix.report.charts.base import Chart
from dpmix.report.charts.choose import beside_others, leading, pictures
from dpmix.report.charts.render import DARK, LIGHT, svg
from dpmix.report.data import Report, TableData, collect
from dpmix.report.page.payload import payload, script
from dpmix.report.page.short import in_short
from dpmix.report.page.words import ALTERNATIVES, OTHER, PRIVACY, SCALES, Progress, progress
from dpmix.report.provenance import citation, provenance
from dpmix.tables.captions import FIGURES
from dpmix.tables.html import Marks, escape, html
from dpmix.tables.text import footers

_HERE = Path(__file__).parent
# More panels than this have the whole width of the first screen.
_FEW = 4
_CUT = "Lines: 95 % intervals of means over seeds, cut where they would squeeze the rest."


@dataclass(frozen=True)
class _Picture:
    """A chart on the page; `svg` stands in for it where scripts are off."""

    name: str
    title: str
    alternative: str
    svg: str
    note: str


@dataclass(frozen=True)
class _Block:
    """One table or figure of the page.

    Attributes:
        anchor: its id in the page.
        name: such as "Table 9".
        number: the paper's number; empty for a table that the paper does not have.
        title: HTML.
        caption: HTML.
        markup: the table or image, HTML.
        command: the command that makes it.
        downloads: (file format, path relative to the page) of its files.
        footers: lines below it, HTML.
        picture: the table as a picture.
        more: a further picture of it, beside other tables.
    """

    anchor: str
    name: str
    number: str
    title: str
    caption: str
    markup: str
    command: str
    downloads: tuple[tuple[str, str], ...]
    footers: tuple[str, ...] = ()
    picture: _Picture | None = None
    more: _Picture | None = None


def build(results: Path, out: Path, catalogue: Catalogue | None = None, params: str | None = None) -> Path:
    """Write the page. Equal inputs and versions give equal bytes.

    Args:
        results: the folder `results/<scale>`; it may hold anything from nothing to a finished scale.
        out: the .html file to write.
        catalogue: the scale, from which runs, failures and commands are known; without it, what `claims.json`,
            `tables/table*.json` and `figures/figure<N>.png` hold is all.
        params: the params file, if it is not `params.yaml`; for commands.

    Returns:
        `out`.

    Raises:
        DataError: if there is no catalogue, and neither tables nor figures; or a file that should hold a table or
            claims does not.
    """
    write_text(out, page(collect(results, catalogue, params), Path(results), Path(out)))
    return out


def page(report: Report, results: Path, out: Path) -> str:
    """The page's HTML.

    Args:
        report: what it shows.
        results: the folder of the results, for the files that it links.
        out: where it will lie, from which links lead.
    """
    import jinja2

    charts = pictures(report)
    drawn = {name: _picture(chart) for name, chart in charts.items()}
    tables, figures = list(_tables(report, drawn, results, out)), list(_figures(report, results, out))
    first = leading(report)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dpmix.report.page", "."),
        autoescape=jinja2.select_autoescape(("html", "j2")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    heading, meaning = SCALES.get(report.scale, OTHER)
    section = claims.section(report.claims)
    text = environment.get_template("template.html.j2").render(
        light=LIGHT,
        dark=DARK,
        css=_asset("page.css"),
        js=_asset("page.js"),
        vega=_asset("vega.js"),
        data=script(payload(report, charts)),
        scale=report.scale,
        heading=heading,
        meaning=meaning,
        hardware=report.hardware,
        finished=report.finished,
        verdicts=f"{section.counts} of {len(section.cards)}" if section else "",
        short=[escape(line) for line in in_short(report)],
        progress=_progress(report),
        leading=_picture(charts[first.table.stem], "first-") if first and first.table.stem in charts else None,
        many=first is not None and _panels(charts.get(first.table.stem)) > _FEW,
        forest=drawn.get("claims"),
        views=next((figure for figure in figures if figure.anchor == "figure1"), None),
        claims=section,
        claims_command=f"{report.command} claims",
        claims_files=_links(results, "claims", ("md", "json"), out),
        tables=tables,
        figures=figures,
        against=report.against,
        one_sided=report.one_sided,
        beside=any('class="paper"' in block.markup for block in tables),
        privacy=PRIVACY,
        provenance=provenance(),
        digests=sorted({entry for run in report.runs.values() for entry in run.inputs.items()}),
        citation=citation(),
    )
    return text if text.endswith("\n") else text + "\n"


def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _picture(chart: Chart, within: str = "") -> _Picture:
    drawn = '"field": "low"' in json.dumps({name: part for name, part in chart.spec.items() if name != "data"})
    spread = drawn and any("low" in one for one in chart.spec["data"]["values"])
    cut = _CUT if spread and chart.name != "claims" else ""
    note = " ".join(filter(None, (cut, escape(chart.note))))
    return _Picture(chart.name, escape(chart.title), chart.alternative, svg(chart, within), note)


def _panels(chart: Chart | None) -> int:
    return len({row.get("panel") for row in chart.spec["data"]["values"]}) if chart is not None else 0


def _progress(report: Report) -> Progress | None:
    return progress(report.standing) if report.standing is not None else None


def _links(folder: Path, stem: str, kinds: tuple[str, ...], out: Path) -> tuple[tuple[str, str], ...]:
    """(file format, path relative to the page) of the files `<folder>/<stem>.<kind>` that exist."""
    found = [(kind, folder / f"{stem}.{kind}") for kind in kinds]
    return tuple(
        (kind.upper(), Path(os.path.relpath(path, out.parent)).as_posix()) for kind, path in found if path.is_file()
    )


def _tables(report: Report, drawn: Mapping[str, _Picture], results: Path, out: Path) -> Iterator[_Block]:
    more = beside_others(report)
    for data in report.tables:
        table = data.table
        yield _Block(
            anchor=table.stem,
            name=table.heading,
            number=table.name if table.name.isdigit() else "",
            title=escape(table.title),
            caption=escape(table.caption),
            markup=html(table, _marks(data)),
            command=f"{report.command} {table.stem}",
            downloads=_links(results / "tables", table.stem, ("csv", "md", "tex", "json"), out),
            footers=tuple(escape(line) for line in footers(table, stacked=True)),
            picture=drawn.get(table.stem),
            more=drawn[more[table.stem].name] if table.stem in more else None,
        )


def _marks(data: TableData) -> dict[tuple[tuple[str, ...], tuple[str, ...]], Marks]:
    """What the page adds to each cell: its place, whether it agrees with the paper, and what is not done of it."""
    found = {}
    for place, one in enumerate(data.cells):
        attributes, after = f" data-cell={place}", ""
        if one.agrees is not None:
            attributes += f" class={'agrees' if one.agrees else 'differs'}"
            after = f'<span class="spoken"> {"agrees with" if one.agrees else "differs from"} the paper</span>'
        if one.other is not None and (one.other.reference is not None or one.cell.values):
            apart = one.other.verdict in ("outside", "alone")
            after += (
                f'<span class="other{" apart" if apart else ""}"><span class="spoken"> there </span>'
                f"{escape(one.other.reference_text)}{' ≠' if apart else ''}</span>"
            )
        if one.state not in (None, "done"):
            done = sum(run.state == "done" for run in one.runs)
            words = f"{done} of {len(one.runs)} done{'' if one.state == 'missing' else f', {one.state}'}"
            after += f' <span class="state {one.state}">{words if done else one.state}</span>'
        found[one.cell.row, one.cell.column] = Marks(attributes, after)
    return found


def _figures(report: Report, results: Path, out: Path) -> Iterator[_Block]:
    for number, path in report.figures.items():
        stem = f"figure{number}"
        title, caption = FIGURES.get(number, (stem, ""))
        alternative = ALTERNATIVES.get(number, title)
        image = base64.b64encode(path.read_bytes()).decode("ascii")
        yield _Block(
            anchor=stem,
            name=f"Figure {number}",
            number=str(number),
            title=escape(title),
            caption=escape(caption),
            markup=f'<img alt="{escape(alternative)}" src="data:image/png;base64,{image}">',
            command=f"{report.command} {stem}",
            downloads=_links(results / "figures", stem, ("pdf", "png", "csv"), out),
        )
