"""`report.charts`: each kind of picture shows the numbers of its table, and is drawn without a browser."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dpmix.report.charts.base import METHODS, Chart, cut, method_scales
from dpmix.report.charts.choose import leading, picture, pictures
from dpmix.report.charts.curves import number
from dpmix.report.charts.render import DARK, KINDS, LIGHT, coloured, svg, whole, write
from dpmix.report.data import Report, TableData, collect

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
    assert {name: kind_of(chart) for name, chart in drawn.items() if name in KINDS_OF} == KINDS_OF
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
    rows = {row["claim"]: row for row in drawn["claims"].spec["data"]["values"]}
    by_id = {claim["id"].replace("-", " "): claim for claim in report.claims}
    assert len(rows) > 10
    assert all(row["verdict"] == by_id[name]["runs"]["verdict"] for name, row in rows.items())
    part = by_id["microbatches"]["runs"]["parts"][by_id["microbatches"]["runs"]["weakest"]]
    row = rows["microbatches"]
    assert (row["value"], row["low"], row["high"]) == (part["estimate"], part["low"], part["high"])


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


def test_a_method_has_one_colour_and_one_mark_on_every_picture() -> None:
    whole_colours, whole_marks = method_scales(METHODS)
    some_colours, some_marks = method_scales(["DP-Mix_Diff", "a method of one's own", "Self-Aug"])
    assert len(set(whole_colours["range"])) == len(set(whole_marks["range"])) == len(METHODS)
    assert some_colours["domain"] == ["Self-Aug", "DP-Mix Diff", "a method of one's own"]
    assert some_colours["range"][:2] == [
        whole_colours["range"][METHODS.index(one)] for one in ("Self-Aug", "DP-Mix_Diff")
    ]
    assert len(set(some_marks["range"])) == 3


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


def test_one_picture_twice_on_a_page_names_its_parts_apart(drawn: dict[str, Chart]) -> None:
    once, twice = svg(drawn["table3"]), svg(drawn["table3"], "first-")
    names = [set(re.findall(r'id="([^"]+)"', text)) for text in (once, twice)]
    assert names[0]
    assert names[0].isdisjoint(names[1])
    assert all(f"url(#{name})" in once for name in names[0])


def test_a_table_of_one_number_has_no_picture(report: Report) -> None:
    data = table(report, "table12")
    alone = TableData(data.table, tuple(one for one in data.cells[:1]))
    assert picture(alone) is None
