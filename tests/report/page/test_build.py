import base64
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from dpmix.catalogue.jobs import jobs
from dpmix.errors import DataError
from dpmix.report.page.build import build
from dpmix.tables.captions import FIGURES
from dpmix.tables.render import write
from tests.report.made_runs import lay
from tests.report.made_up import PIXEL, Page, results, table


def test_the_page_is_well_formed_and_complete(tmp_path: Path) -> None:
    root = results(tmp_path)
    text = build(root, root / "report" / "index.html").read_text(encoding="utf-8")
    parsed = Page(text)
    sections = [attributes["id"] for attributes in parsed.all("section") if "id" in attributes]
    assert sections == ["table2", "table10", "figure1", "figure2", "privacy", "made-with"]
    for wanted in (
        "Title &lt;x&gt;",
        "A caption &amp; more.",
        "A &lt;note&gt;.",
        "<code>snakemake --cores all table10</code>",
    ):
        assert wanted in text
    assert "&amp;lt;" not in text


class Sections(HTMLParser):
    """By anchor: the words of each section, its picture, and the numbers that its cells are sorted by."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: dict[str, str] = {}
        self.pictures: dict[str, dict[str, str | None]] = {}
        self.values: dict[str, list[str]] = {}
        self.here = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag == "section":
            self.here = str(values.get("id") or values["aria-labelledby"])
            self.words[self.here], self.values[self.here] = "", []
        elif tag == "img":
            self.pictures[self.here] = values
        elif tag == "td":
            self.values[self.here].append(values.get("data-value") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "section":
            self.here = ""

    def handle_data(self, data: str) -> None:
        if self.here:
            self.words[self.here] += data


def test_each_figure_has_its_own_picture_words_and_command(tmp_path: Path) -> None:
    root = results(tmp_path)
    # Files that differ: what lies behind the picture is ignored by whoever shows it.
    for number in (1, 2):
        (root / "figures" / f"figure{number}.png").write_bytes(PIXEL + f"figure {number}".encode())
    found = Sections(build(root, root / "report" / "index.html").read_text(encoding="utf-8"))
    about = {1: "one private image with its plain views", 2: "Densities on a logarithmic axis"}
    for number, (title, caption) in FIGURES.items():
        anchor = f"figure{number}"
        picture = found.pictures[anchor]
        kind, _, content = str(picture["src"]).partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content) == (root / "figures" / f"{anchor}.png").read_bytes()
        assert about[number] in str(picture["alt"])
        words = " ".join(found.words[anchor].split())
        assert f"Figure {number} {title} {caption.replace('_', '')} " in words
        assert f"Made by: snakemake --cores all {anchor}" in words
    assert set(found.pictures) == {"views-title", "figure1", "figure2"}


def test_each_table_has_its_own_numbers_words_and_footers(tmp_path: Path) -> None:
    root = results(tmp_path, "paper")
    for number in (2, 10):
        one = table(str(number), "paper")
        cells = tuple(replace(cell, values=(number + place,)) for place, cell in enumerate(one.cells))
        write(replace(one, cells=cells, caption=f"About {number}."), root / "tables")
    found = Sections(build(root, root / "report" / "index.html").read_text(encoding="utf-8"))
    for number in (2, 10):
        anchor = f"table{number}"
        assert found.values[anchor] == [f"{number + place}" for place in range(4)]
        words = " ".join(found.words[anchor].split())
        assert f"Table {number} Title <x> About {number}. " in words
        # On the page the paper's value stands below.
        below = "Cells: this run, mean (sample standard deviation over seeds); below it, the paper, as printed."
        assert f"{below} Seeds: 1. Largest ε executed: 0.990. A <note>. " in words
        assert f"Made by: snakemake --cores all --config scale=paper -- {anchor}" in words


def test_only_a_picture_with_intervals_says_what_its_lines_are(tmp_path: Path, repository: Path) -> None:
    root = results(tmp_path)
    one = table("2", "demo")
    write(replace(one, cells=tuple(replace(cell, values=cell.values[:1]) for cell in one.cells)), root / "tables")
    shutil.copy(repository / "results" / "reference" / "demo" / "tables" / "table9.json", root / "tables")  # a heat map
    found = Sections(build(root, root / "report" / "index.html").read_text(encoding="utf-8"))
    said = {name for name in ("table2", "table9", "table10") if "Lines: 95 % intervals" in found.words[name]}
    assert said == {"table10"}


def test_nothing_is_fetched(tmp_path: Path) -> None:
    root = results(tmp_path)
    text = build(root, root / "report" / "index.html").read_text(encoding="utf-8")
    parsed = Page(text)
    sources = [values.get(name) or "" for _, values in parsed.found for name in ("src", "href") if name in values]
    assert sources
    assert not [source for source in sources if re.match(r"(?!data:)[a-z]+:|//", source)]
    # What the script of the pictures can fetch, it is not asked for; a browser says so in test_browser.
    plain = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert "@import" not in plain
    assert set(re.findall(r"url\((.)", plain)) <= {"#"}


def test_every_link_leads_somewhere(tmp_path: Path) -> None:
    root = results(tmp_path)
    out = build(root, root / "report" / "index.html")
    parsed = Page(out.read_text(encoding="utf-8"))
    identifiers = [values["id"] for _, values in parsed.found if "id" in values]
    assert len(identifiers) == len(set(identifiers))
    links = [values["href"] or "" for values in parsed.all("a")]
    assert {f"#{name}" for name in ("table2", "table10", "figure1", "figure2", "main")} <= set(links)
    for link in links:
        if link.startswith("#"):
            assert link[1:] in identifiers
        else:
            assert (out.parent / unquote(link)).is_file(), link
    files = [Path(link).name for link in links if not link.startswith("#")]
    assert files[:4] == ["table2.csv", "table2.md", "table2.tex", "table2.json"]
    assert files[-4:] == ["figure1.pdf", "figure1.png", "figure2.png", "figure2.csv"]


def test_pictures_have_words_and_headers_have_scopes(tmp_path: Path) -> None:
    root = results(tmp_path)
    parsed = Page(build(root, root / "report" / "index.html").read_text(encoding="utf-8"))
    pictures = parsed.all("img")
    assert len(pictures) == 3  # Figure 1 also on the first screen
    assert all(len(picture["alt"] or "") > 40 for picture in pictures)
    assert all(head.get("scope") for head in parsed.all("th"))
    assert parsed.all("html")[0]["lang"] == "en"
    regions = [values for values in parsed.all("div") if values.get("class") == "box"]
    assert all(region["tabindex"] == "0" and region["aria-label"] for region in regions)


def test_the_demo_says_that_it_is_a_miniature(tmp_path: Path) -> None:
    demo, paper, own = (results(tmp_path, scale) for scale in ("demo", "paper", "mine"))
    texts = [build(root, root / "index.html").read_text(encoding="utf-8") for root in (demo, paper, own)]
    assert ["miniature" in text for text in texts] == [True, False, False]
    assert "digits" in texts[0]
    assert ['class="paper"' in text for text in texts] == [False, True, False]
    assert "snakemake --cores all --config scale=paper -- table2" in texts[1]
    assert "A scale of your own." in texts[2]


def test_the_bytes_are_the_same_each_time_and_hold_no_date(tmp_path: Path) -> None:
    root = results(tmp_path)
    first = build(root, root / "report" / "index.html").read_bytes()
    assert build(root, root / "report" / "index.html").read_bytes() == first
    assert not re.search(rb"\b20[2-9]\d-[01]\d-[0-3]\d\b", first)
    assert str(tmp_path).encode() not in first


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no tables or figures.*snakemake --cores all table9"):
        build(tmp_path / "demo", tmp_path / "index.html")


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    root = results(tmp_path)
    (root / "tables" / "table2.json").write_text("{}")
    with pytest.raises(DataError, match=r"table2\.json"):
        build(root, root / "index.html")


def test_of_an_empty_scale_the_first_screen_says_so_and_how_to_go_on(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    catalogue = lay(tmp_path, repository, "12")
    shutil.rmtree("results")
    text = build(Path("results/demo"), tmp_path / "index.html", catalogue).read_text(encoding="utf-8")
    first = text.partition('<header class="first">')[2].partition("</header>")[0]
    assert "Nothing is measured yet." in first
    assert "<code>snakemake --cores all all_tables all_figures report</code>" in first
    assert "In short" not in first


def test_a_cell_says_how_many_of_its_runs_are_done(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    catalogue = lay(tmp_path, repository, "12")
    some, none, damaged, _ = catalogue.cells("12")
    Path(catalogue.path(some.artefacts[0])).unlink()
    for artefact in none.artefacts:
        Path(catalogue.path(artefact)).unlink()
    Path(catalogue.path(damaged.artefacts[0])).write_text("{}", encoding="utf-8")
    text = build(Path("results/demo"), tmp_path / "index.html", catalogue).read_text(encoding="utf-8")
    section = text.partition('<section id="table12"')[2].partition("</section>")[0]
    assert re.findall(r'class="state \w+">([^<]*)<', section) == ["2 of 3 done", "missing", "2 of 3 done, failed"]


def test_the_last_failure_and_its_log_stand_on_the_first_screen(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    catalogue = lay(tmp_path, repository, "12")
    every = jobs(catalogue, *{type(one): None for one in catalogue.artefacts.values()}, missing_only=False)
    shown = [job for job in every if any(Path(path).exists() for path in job.paths)]
    for number, job in enumerate(shown, 1):
        for path in job.paths:
            Path(path).unlink(missing_ok=True)
        log = Path("logs", "train", f"{job.name}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"error: <{number}> ran out\n", encoding="utf-8")
        os.utime(log, (number, number))
    text = build(Path("results/demo"), tmp_path / "index.html", catalogue).read_text(encoding="utf-8")
    first = text.partition('<header class="first">')[2].partition("</header>")[0]
    count = len(shown)
    said = f"{count} job{'s' if count > 1 else ''} failed, the last with <code>error: &lt;{count}&gt; ran out</code>"
    assert f"{said} in logs/train/{shown[-1].name}.log" in first
    assert ("The others" in first) == (count > 1)
