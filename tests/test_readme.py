"""The README is short, its picture is fresh, and what its pages say of the demo is what the reference tables show."""

import importlib.util
import re
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from dpmix.artefacts.measurements import Distance
from dpmix.catalogue.catalogue import Catalogue
from dpmix.params.read import read as read_params
from dpmix.tables.render import read
from dpmix.tables.statistics import paired_difference

TABLES = Path("results/reference/demo/tables")
CELL = r"\d+\.\d \(\d*\.\d\)"


def section(repository: Path) -> str:
    text = (repository / "docs" / "demo.md").read_text(encoding="utf-8")
    return text.partition("# What the demo shows\n")[2].partition("\n## ")[0]


def cells(repository: Path, number: str) -> set[str]:
    return set(re.findall(CELL, (repository / TABLES / f"table{number}.md").read_text(encoding="utf-8")))


def test_every_number_of_a_finding_is_in_the_tables_that_it_names(repository: Path) -> None:
    findings = re.findall(r"^- \*\*.*?(?=^- |^$)", section(repository), flags=re.MULTILINE | re.DOTALL)
    assert len(findings) >= 5
    quoted = 0
    for finding in findings:
        named = re.findall(r"\d+", " ".join(re.findall(r"Tables? [\d, and]+", finding)))
        assert named, finding
        shown = set().union(*(cells(repository, number) for number in named))
        for cell in re.findall(CELL, " ".join(finding.split())):
            assert cell in shown, f"{cell} of {finding!r}"
            quoted += 1
    assert quoted >= 8


def test_the_excerpt_is_of_table_3(repository: Path) -> None:
    rows = [line for line in section(repository).splitlines() if line.startswith("|") and re.search(CELL, line)]
    table = (repository / TABLES / "table3.md").read_text(encoding="utf-8")
    start = table.index("digits (300)")
    assert len(rows) >= 4
    for row in rows:
        method = next(
            part
            for part in (cell.strip() for cell in row.strip("|").split("|"))
            if part[:1].isalpha() and "(300)" not in part
        )
        original = next(line for line in table[start:].splitlines() if f"| {method} |" in line)
        assert re.findall(CELL, row) == re.findall(CELL, original)[: len(re.findall(CELL, row))]


def test_the_readme_is_short_and_leads_to_its_pages(repository: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    for page in ("use", "works", "demo", "privacy", "long-runs"):
        assert f"(docs/{page}.md)" in text


@pytest.fixture(scope="module")
def picture(repository: Path) -> Any:
    """`docs/picture.py`."""
    sources = importlib.util.spec_from_file_location("picture", repository / "docs" / "picture.py")
    assert sources is not None
    assert sources.loader is not None
    picture = importlib.util.module_from_spec(sources)
    sources.loader.exec_module(picture)
    return picture


@pytest.mark.slow
def test_the_picture_shows_what_is_there(repository: Path, picture: Any) -> None:
    """`make picture` takes it again."""
    assert picture.digest_in(repository / "docs" / "report.png") == picture.digest()
    assert "](docs/report.png)" in (repository / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dpmix.report.charts.curves._APART", 0.2),  # of a chart
        ("dpmix.report.charts.base._SHAPES", ("cross",) * 8),  # of all charts
        ("dpmix.report.page.words.SCALES", {}),  # of the page
    ],
)
def test_a_picture_of_other_code_is_told(
    repository: Path, picture: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    monkeypatch.setattr(name, value)
    if name.endswith("SCALES"):
        monkeypatch.setattr("dpmix.report.page.build.SCALES", value)
    assert picture.digest_in(repository / "docs" / "report.png") != picture.digest()


ONE, TWO = (("Microbatch Size = 1",), ("Microbatch Size = 2",))
HALF, ALL = ("digits (300)",), ("digits",)


@pytest.mark.parametrize(
    ("words", "table", "first", "second", "settled"),
    [
        ("Microbatches lose", 1, (("DP-SGD",), ONE), (("DP-SGD",), TWO), True),
        ("Mixing the microbatch is no remedy", 1, (("DP-SGD w/ Mixup",), TWO), (("DP-SGD",), TWO), False),
        ("three seeds do not settle it", 10, (HALF, ("Tiny ViT", "B")), (HALF, ("Tiny ViT", "A")), False),
        ("three seeds do not settle it", 10, (HALF, ("Tiny ViT", "C")), (HALF, ("Tiny ViT", "B")), False),
        ("that B is above A is settled", 10, (HALF, ("Tiny ConvNeXt", "B")), (HALF, ("Tiny ConvNeXt", "A")), True),
        ("of all 1,437 digits B is below A", 10, (ALL, ("Tiny ViT", "A")), (ALL, ("Tiny ViT", "B")), True),
        ("of all 1,437 digits B is below A", 10, (ALL, ("Tiny ConvNeXt", "A")), (ALL, ("Tiny ConvNeXt", "B")), True),
        (
            "at ε = 8 DP-Mix_Diff falls far behind",
            3,
            ((*HALF, "Self-Aug"), ("Tiny ConvNeXt", "ε = 8")),
            ((*HALF, "DP-Mix_Diff"), ("Tiny ConvNeXt", "ε = 8")),
            True,
        ),
    ],
)
def test_what_is_said_to_differ_differs_seed_by_seed(
    repository: Path, words: str, table: int, first: tuple, second: tuple, settled: bool
) -> None:
    """By the 95 % interval of the paired difference."""
    assert words in " ".join(section(repository).split())
    grid = read(repository / TABLES / f"table{table}.json").grid
    difference = paired_difference(grid[first].values, grid[second].values)
    assert difference.excludes_zero == settled
    assert not settled or difference.low > 0


def test_every_cell_where_mixing_views_shows_is_named(repository: Path) -> None:
    """Where DP-Mix_Self and Self-Aug are further apart than either's standard deviation."""
    apart = set()
    for table in (2, 3, 5):
        grid = read(repository / TABLES / f"table{table}.json").grid
        for row, column in grid:
            if "DP-Mix_Self" not in row:
                continue
            plain = tuple("Self-Aug" if label == "DP-Mix_Self" else label for label in row)
            mixed, alone = grid[row, column].values, grid[plain, column].values
            if abs(mean(mixed) - mean(alone)) > max(stdev(mixed), stdev(alone)):
                apart |= {f"{mean(mixed):.1f} ({stdev(mixed):.1f}) % against {mean(alone):.1f} ({stdev(alone):.1f}) %"}
    (finding,) = re.findall(r"^- \*\*DP-Mix_Self over.*?(?=^- )", section(repository), flags=re.MULTILINE | re.DOTALL)
    named = re.findall(rf"{CELL} % against {CELL} %", " ".join(finding.split()))
    assert {one.replace("(0.", "(.") for one in apart} == set(named)
    assert len(named) == 3


def test_the_page_of_choices_says_what_tighter_accountants_certify(repository: Path) -> None:
    """Of the paper's runs, for the noise of each; `table_privacy` has them."""
    grid = read(repository / TABLES / "table_privacy.json").grid
    stated = {row: cell.values[0] for (row, column), cell in grid.items() if column == ("As calibrated", "RDP")}
    less = [
        100 * (1 - grid[row, ("As calibrated", name)].values[0] / epsilon)
        for row, epsilon in stated.items()
        for name in ("PRV", "PLD")
    ]
    assert len(less) == 64
    page = " ".join((repository / "docs" / "choices.md").read_text(encoding="utf-8").split())
    assert f"PRV and PLD, which certify {min(less):.0f} to {max(less):.0f} % less ε for the paper's runs" in page


def systems(repository: Path) -> list[list[str]]:
    """The rows of the list of systems, cell by cell."""
    text = (repository / "docs" / "works.md").read_text(encoding="utf-8").partition("# What works\n")[2]
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


def test_every_system_names_a_test_that_exists(repository: Path) -> None:
    rows = systems(repository)
    assert len(rows) >= 15
    for system, *_, by in rows:
        file, _, name = by.strip("`").partition("::")
        assert f"\ndef {name}(" in (repository / file).read_text(encoding="utf-8"), f"{system}: {by}"


def test_every_system_stands_in_the_tables_that_are_named(repository: Path) -> None:
    catalogue = Catalogue(read_params(repository / "params.yaml"), "demo")
    methods = {spec.label: name for name, spec in catalogue.params.methods.items()}
    named = 0
    for system, where, *_ in systems(repository):
        for first, last in re.findall(r"(\d+)(?: to (\d+))?", where):
            for number in range(int(first), int(last or first) + 1):
                assert str(number) in catalogue.spec.tables, system
                runs: list[Any] = [one for cell in catalogue.cells(str(number)) for one in cell.artefacts]
                views = [one.views if isinstance(one, Distance) else one for one in runs]
                shown = {getattr(one, "method", None) for one in views}
                if system in methods:
                    assert methods[system] in shown, f"{system} is not in Table {number}"
                    named += 1
        for target in re.findall(r"`(table_\w+)`", where):
            assert target in catalogue.targets, system
    assert named >= 20
