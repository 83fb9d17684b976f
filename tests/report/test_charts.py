"""`report.charts`: each kind of picture shows the numbers of its table, and is drawn without a browser."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dpmix.claims.entries import load
from dpmix.report.charts import base
from dpmix.report.charts.base import METHODS, Chart, cut, method_scales, shown
from dpmix.report.charts.choose import leading, picture, pictures
from dpmix.report.charts.curves import number
from dpmix.report.charts.forest import forest
from dpmix.report.charts.render import DARK, KINDS, LIGHT, coloured, svg, whole, write
from dpmix.report.charts.synthetic_gains import synthetic_gains
from dpmix.report.data import CellData, Report, TableData, collect
from dpmix.report.runs import Facets
from dpmix.tables.captions import ACCURACY
from dpmix.tables.cells import Cell, PaperValue, Table
from dpmix.tables.statistics import Interval

# The kind of mark that tells the tables' pictures apart.
KINDS_OF = {
    "table1": "dots", "table2": "curves", "table3": "curves", "table4": "dots", "table5": "curves", "table6": "dots",
    "table7": "dots", "table8": "dots", "table9": "heat", "table10": "slopes", "table11": "curves", "table12": "dots",
    "table13": "dots", "table_modelmix": "curves", "table_privacy": "curves", "table_released": "curves",
}  # fmt: skip


@pytest.fixture(scope="module")
def report(repository: Path) -> Report:
    return collect(repository / "results" / "reference" / "demo")


@pytest.fixture(scope="module")
def drawn(report: Report) -> dict[str, Chart]:
    return pictures(report)


# Pictures of several tables.
OTHERS = ("claims", "gains", "synthetic_gains")


def marks(spec: Any) -> set[str]:
    """The kinds of marks in a specification, wherever they are."""
    if isinstance(spec, dict):
        own = spec.get("mark", {})
        return set().union(*map(marks, spec.values())) | ({own["type"]} if isinstance(own, dict) and own else set())
    return set().union(*map(marks, spec)) if isinstance(spec, list) else set()


def kind_of(chart: Chart) -> str:
    found = marks(chart.spec)
    if "rect" in found:
        return "heat"
    if "line" in found:
        return "slopes" if '"step"' in json.dumps(chart.spec) else "curves"
    return "dots"


def table(report: Report, stem: str) -> TableData:
    (found,) = [data for data in report.tables if data.table.stem == stem]
    return found


def test_every_table_has_the_picture_that_its_axes_ask_for(report: Report, drawn: dict[str, Chart]) -> None:
    assert {name: kind_of(chart) for name, chart in drawn.items() if name not in OTHERS} == KINDS_OF
    assert len(report.tables) == len(KINDS_OF)


@pytest.mark.parametrize("stem", KINDS_OF)
def test_a_picture_has_every_number_of_its_table(report: Report, drawn: dict[str, Chart], stem: str) -> None:
    data, rows = table(report, stem), drawn[stem].spec["data"]["values"]
    scale = 60 if stem == "table13" else 1
    for row in rows:
        name, place = row["opens"].split("/")
        cell = data.cells[int(place)].cell
        assert name == stem
        assert row["value"] == pytest.approx(cell.center * scale, rel=1e-5)
    shown = {int(row["opens"].split("/")[1]) for row in rows}
    left_out = [one.cell for place, one in enumerate(data.cells) if one.cell.values and place not in shown]
    # A reference is the same in every column, or no part of a slope; an infinite ε has no place on an axis.
    assert [cell for cell in left_out if not cell.end and cell.center != float("inf")] == []


def test_references_are_lines_of_their_own(report: Report, drawn: dict[str, Chart]) -> None:
    rows = [row for row in drawn["table3"].spec["data"]["values"] if "reference" in row]
    panels = {row["panel"] for row in drawn["table3"].spec["data"]["values"]}
    assert {row["reference"] for row in rows} == {"Zero-shot (ε = 0)", "Non-private (ε = ∞)"}
    assert len(rows) == 2 * len(panels) == 8


def test_the_first_picture_is_the_largest_of_accuracies_along_epsilon(report: Report) -> None:
    found = leading(report)
    assert found is not None
    assert found.table.name == "3"


def test_claims_have_their_effects_and_verdicts(report: Report, drawn: dict[str, Chart]) -> None:
    rows = {row["link"].removeprefix("#claim-"): row for row in drawn["claims"].spec["data"]["values"]}
    by_id = {claim["id"]: claim for claim in report.claims}
    assert len(rows) > 10
    assert all(row["verdict"] == by_id[name]["runs"]["verdict"] for name, row in rows.items())
    part = by_id["microbatches"]["runs"]["parts"][by_id["microbatches"]["runs"]["weakest"]]
    row = rows["microbatches"]
    assert (row["value"], row["low"], row["high"]) == (part["estimate"], part["low"], part["high"])


def test_each_claims_mark_is_what_it_must_pass_and_its_verdict_is_that_of_its_interval(
    report: Report, drawn: dict[str, Chart]
) -> None:
    rows = {row["link"].removeprefix("#claim-"): row for row in drawn["claims"].spec["data"]["values"]}
    bounds = {claim["id"]: claim["bounds"] for claim in report.claims}
    assert {name: row["limit"] for name, row in rows.items()} == {name: bounds[name][0] for name in rows}
    within = {name: row for name, row in rows.items() if bounds[name][1] is not None}
    assert within
    for name, row in rows.items():
        above = row["low"] >= row["limit"] and (name not in within or row["high"] <= bounds[name][1])
        assert (row["verdict"] == "supported") <= above, name


def test_the_axis_of_claims_holds_every_effect_and_each_interval_that_does_not_squeeze_them(
    drawn: dict[str, Chart],
) -> None:
    rows = [row for row in drawn["claims"].spec["data"]["values"] if row["unit"] == "points"]
    (axis,) = [part for part in drawn["claims"].spec["vconcat"] if "'points'" in part["transform"][0]["filter"]]
    low, high = axis["layer"][1]["encoding"]["x"]["scale"]["domain"]
    effects = [row[name] for row in rows for name in ("value", "limit", "paper") if name in row]
    span = max(effects) - min(effects)
    for row in rows:
        assert low < row["value"] < high
        assert low < row["low"] or row["low"] <= min(effects) - 0.5 * span
        assert row["high"] < high or row["high"] >= max(effects) + 0.5 * span


@pytest.mark.parametrize(("stem", "mark", "axis"), [("table2", "tick", "y"), ("table12", "diamond", "x")])
def test_the_papers_numbers_stand_where_they_are_and_not_at_those_of_these_runs(
    report: Report, stem: str, mark: str, axis: str
) -> None:
    data = table(report, stem)
    cells = tuple(
        replace(one, cell=replace(one.cell, paper=PaperValue(50.0 + place, 0.1, f"{50 + place}")))
        for place, one in enumerate(data.cells)
    )
    chart = picture(replace(data, cells=cells))
    assert chart is not None
    assert [row["paper"] for row in chart.spec["data"]["values"]] == [50.0 + place for place in range(len(cells))]
    layers = chart.spec.get("spec", chart.spec)["layer"]
    (layer,) = [one for one in layers if mark in (one["mark"].get("shape"), one["mark"]["type"])]
    assert layer["encoding"][axis]["field"] == "paper"
    assert "the paper" in chart.note


def test_gains_are_differences_at_the_smallest_epsilon_beside_the_distance_of_the_views(
    report: Report, drawn: dict[str, Chart]
) -> None:
    rows = {(row["line"], row["name"]): row for row in drawn["gains"].spec["data"]["values"]}
    three = {(*one.cell.row, *one.cell.column): one.cell.center for one in table(report, "table3").cells}
    seven = {(*one.cell.row, *one.cell.column): one.cell.center for one in table(report, "table7").cells}
    for dataset in ("digits", "digits (300)"):
        for method in ("DP-Mix_Self", "DP-Mix_Diff"):
            row = rows[dataset, method.replace("_", " ")]
            at = ("Tiny ViT", "ε = 1")
            assert row["gain"] == pytest.approx(three[dataset, method, *at] - three[dataset, "Self-Aug", *at], abs=1e-3)
            assert row["value"] == pytest.approx(seven[dataset, "Test", method], rel=1e-5)
    four = {one.cell.column[0]: one.cell.center for one in table(report, "table4").cells}
    assert rows["digits (300)", "+Jitter"]["gain"] == pytest.approx(four["+Jitter"] - four["Self-Aug"], abs=1e-3)


def test_gains_by_synthetic_images_are_differences_to_mixing_without_them(
    report: Report, drawn: dict[str, Chart]
) -> None:
    rows = {(row["line"], row["panel"]): row for row in drawn["synthetic_gains"].spec["data"]["values"]}
    three = {(*one.cell.row, *one.cell.column): one.cell.center for one in table(report, "table3").cells}
    eight = {(*one.cell.row, *one.cell.column): one.cell.center for one in table(report, "table8").cells}
    assert set(rows) == {
        (dataset, by) for dataset in ("digits", "digits (300)") for by in ("Tiny ViT", "Tiny ConvNeXt")
    }
    for (dataset, by), row in rows.items():
        at = ("Tiny ViT", "ε = 1")
        assert row["gain"] == pytest.approx(
            three[dataset, "DP-Mix_Diff", *at] - three[dataset, "DP-Mix_Self", *at], abs=1e-3
        )
        assert row["value"] == pytest.approx(eight[dataset, by, "Train vs Diffusion"], rel=1e-5)
    alone = replace(report, tables=tuple(data for data in report.tables if data.table.name == "8"))
    assert synthetic_gains(alone) is None


def test_a_method_has_one_colour_and_one_mark_on_every_picture() -> None:
    whole_colours, whole_marks = method_scales(METHODS)
    some_colours, some_marks = method_scales(["DP-Mix_Diff", "a method of one's own", "Self-Aug"])
    assert len(set(whole_colours["range"])) == len(set(whole_marks["range"])) == len(METHODS)
    assert some_colours["domain"] == ["Self-Aug", "DP-Mix Diff", "a method of one's own"]
    assert some_colours["range"][:2] == [
        whole_colours["range"][METHODS.index(one)] for one in ("Self-Aug", "DP-Mix_Diff")
    ]
    assert len(set(some_marks["range"])) == 3


def test_a_variant_has_the_colour_of_its_method_and_a_mark_of_its_own() -> None:
    named = ["ModelMix (Theorem A)", "ModelMix (Theorem B)", "DP-SGD", "DP-SGD (variance of ModelMix)", "+Jitter"]
    colours, marks = method_scales(named)
    by_name = dict(zip(colours["domain"], colours["range"], strict=True))
    assert by_name["ModelMix (Theorem A)"] == by_name["ModelMix (Theorem B)"] == base.colour("ModelMix")
    assert by_name["DP-SGD"] == by_name["DP-SGD (variance of ModelMix)"] == base.colour("DP-SGD")
    assert by_name["+Jitter"] == base.colour("")
    assert len(set(marks["range"])) == len(named)
    accountants, _ = method_scales(["RDP", "PRV", "PLD"])
    assert len(set(accountants["range"])) == 3


def drawn_points(chart: Chart) -> dict[str, int]:
    """How many of a picture's filled points have which colour; a shape that encloses nothing is not seen."""
    text = svg(chart)
    groups = re.findall(r'<g class="mark-symbol role-mark[^"]*">(.*?)</g>', text, flags=re.DOTALL)
    fills = re.findall(r'd="[^"]*[AZ][^"]*" fill="(var\(--\w+\))"', "".join(groups))
    return {fill: fills.count(fill) for fill in fills}


def test_references_beside_dots_are_seen_and_points_have_their_methods_colours(report: Report) -> None:
    data = table(report, "table12")
    (first, *others) = data.cells
    end = replace(first, cell=replace(first.cell, row=("Zero-shot (ε = 0)",), values=(80.0,), end=True), interval=None)
    chart = picture(
        replace(data, table=replace(data.table, cells=(*data.table.cells, end.cell)), cells=(*data.cells, end))
    )
    assert chart is not None
    assert len(others) == 3
    assert drawn_points(chart) == {
        **{base.colour(one.facets.method): 1 for one in data.cells}, "var(--ink)": 1,
    }  # fmt: skip


def test_legends_have_the_colours_of_the_points(drawn: dict[str, Chart]) -> None:
    for name in ("table2", "table10"):
        symbols = re.findall(
            r'role-legend-symbol[^>]*><path [^>]*?fill="([^"]+)"[^>]* opacity="([^"]+)"', svg(drawn[name])
        )
        assert symbols == [("var(--c1)", "1"), ("var(--c2)", "1")]


@pytest.mark.parametrize(
    ("label", "value"), [("ε = 4", 4.0), ("16", 16.0), ("0.5", 0.5), ("Self-Aug", None), ("+Jitter", None)]
)
def test_labels_that_are_numbers(label: str, value: float | None) -> None:
    assert number(label) == value


def test_intervals_are_cut_where_they_would_squeeze_the_rest() -> None:
    rows = [{"value": 80.0, "low": 20.0, "high": 140.0}, {"value": 90.0, "low": 89.0, "high": 91.0}]
    cut(rows, 100.0)
    assert [(row["low"], row["high"]) for row in rows] == [(74.0, 96.0), (89.0, 91.0)]
    near = [{"value": 99.0, "low": 98.0, "high": 101.0}]
    cut(near, 100.0)
    assert near[0]["high"] == 100.0


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2.1."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_marks_and_words_stand_out_from_the_page(theme: dict[str, str]) -> None:
    """Level AA of WCAG 2.1: 3 for marks, 4.5 for words."""
    assert set(LIGHT) == set(DARK)
    drawn = {name: contrast(colour, theme["page"]) for name, colour in theme.items() if re.fullmatch(r"c\d|edge", name)}
    assert len(drawn) == 10
    assert min(drawn.values()) >= 3, drawn
    words = {name: contrast(theme[name], theme[on]) for name in ("ink", "soft", "link") for on in ("page", "panel")}
    assert min(words.values()) >= 4.5, words


def test_files_have_the_colours_of_a_light_page_and_the_same_bytes_each_time(
    drawn: dict[str, Chart], tmp_path: Path
) -> None:
    chart = drawn["table9"]
    assert "var(--" in json.dumps(whole(chart))
    assert "var(--" not in json.dumps(coloured(whole(chart), LIGHT))
    first = {path.name: path.read_bytes() for path in write(chart, tmp_path / "first")}
    again = {path.name: path.read_bytes() for path in write(chart, tmp_path / "again")}
    assert sorted(first) == sorted(f"table9.{kind}" for kind in KINDS)
    assert first["table9.png"].startswith(b"\x89PNG")
    assert first["table9.pdf"].startswith(b"%PDF")
    assert b"var(--" not in first["table9.svg"]
    assert {name: first[name] == again[name] for name in ("table9.svg", "table9.png")} == dict.fromkeys(
        ("table9.svg", "table9.png"), True
    )


def test_on_the_page_a_picture_is_no_wider_than_it_was_drawn(drawn: dict[str, Chart]) -> None:
    assert drawn
    for chart in drawn.values():
        head = re.match(r"<svg[^>]*>", svg(chart))
        assert head is not None
        (wide,) = re.findall(r"max-width: ([\d.]+)px", head[0])
        assert f'viewBox="0 0 {wide} ' in head[0]
        assert " width=" not in head[0]
        assert " height=" not in head[0]


def test_one_picture_twice_on_a_page_names_its_parts_apart(drawn: dict[str, Chart]) -> None:
    once, twice = svg(drawn["table3"]), svg(drawn["table3"], "first-")
    names = [set(re.findall(r'id="([^"]+)"', text)) for text in (once, twice)]
    assert names[0]
    assert names[0].isdisjoint(names[1])
    assert all(f"url(#{name})" in once for name in names[0])


def test_an_interval_below_zero_is_cut_only_where_nothing_can_be_below_zero() -> None:
    for unit, low in ((ACCURACY, 0.0), ("difference (points)", -6.0)):
        one = Cell(("A",), (), (-3.0, 1.0))
        data = TableData(
            Table("1", "", "", unit, ("Method",), (), (one,), "demo"),
            (CellData(one, Facets(), interval=Interval(-1.0, -6.0, 4.0)),),
        )
        found = base.row(data, 0)
        assert (found["low"], found["high"]) == (low, 4.0)


def test_a_claim_is_called_by_a_few_words_in_its_picture(report: Report, drawn: dict[str, Chart]) -> None:
    rows = drawn["claims"].spec["data"]["values"]
    briefs = {claim.brief for claim in load()}
    assert None not in briefs
    assert {row["claim"] for row in rows} <= {shown(brief) for brief in briefs if brief}
    unknown = forest([{**report.claims[0], "id": "one-of-my-own"}])
    assert unknown is not None
    assert [row["claim"] for row in unknown.spec["data"]["values"]] == ["one of my own"]


def test_a_label_keeps_underscores_that_are_its_own() -> None:
    assert (shown("DP-Mix_Self"), shown("K_BASE"), shown("my_own_data")) == ("DP-Mix Self", "K BASE", "my_own_data")


def test_a_table_of_one_number_has_no_picture(report: Report) -> None:
    data = table(report, "table12")
    alone = TableData(data.table, tuple(one for one in data.cells[:1]))
    assert picture(alone) is None
