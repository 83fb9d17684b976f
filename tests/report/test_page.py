import base64
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from dpmix.errors import DataError
from dpmix.report import page
from dpmix.report.page import build, provenance
from dpmix.tables.captions import FIGURES
from dpmix.tables.cells import Cell, PaperValue, Table
from dpmix.tables.render import write
from tests.needs import CHROMIUM, GIT, lacks, needs

VOID = {"meta", "link", "img", "br", "input", "hr"}
# The smallest valid PNG: one transparent pixel.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001e221bc330000000049"
    "454e44ae426082"
)


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def table(number: str, scale: str) -> Table:
    paper = PaperValue(71.5, 0.2, "71.5 (.2)") if scale == "paper" else None
    cells = tuple(
        Cell((row,), ("V & <W>", column), (70.0 + at, 72.0), 0.99, paper=paper)
        for at, (row, column) in enumerate((row, column) for row in ("A", "DP-Mix_Self") for column in ("1", "2"))
    )
    title, caption = "Title <x>", "A caption & more."
    return Table(
        number, title, caption, "test accuracy (%)", ("Method",), ("Model", "ε"), cells, scale, notes=("A <note>.",)
    )


def results(folder: Path, scale: str = "demo") -> Path:
    root = folder / "results" / scale
    for number in (10, 2):
        write(table(str(number), scale), root / "tables")
    (root / "figures").mkdir(parents=True)
    for name in ("figure1.png", "figure1.pdf", "figure2.png", "figure2.csv", "other.png"):
        (root / "figures" / name).write_bytes(PIXEL)
    return root


def test_the_page_is_well_formed_and_complete(tmp_path: Path) -> None:
    root = results(tmp_path)
    text = build(root, root / "report" / "index.html").read_text(encoding="utf-8")
    parsed = Page(text)
    assert [attributes["id"] for attributes in parsed.all("section")] == ["table2", "table10", "figure1", "figure2"]
    for wanted in ("Title &lt;x&gt;", "A caption &amp; more.", "A &lt;note&gt;.", "<code>snakemake table10</code>"):
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
            self.here = str(values["id"])
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
    about = {1: "one private image with its plain views", 2: "Histograms on a logarithmic count axis"}
    for number, (title, caption) in FIGURES.items():
        anchor = f"figure{number}"
        picture = found.pictures[anchor]
        kind, _, content = str(picture["src"]).partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content) == (root / "figures" / f"{anchor}.png").read_bytes()
        assert about[number] in str(picture["alt"])
        words = " ".join(found.words[anchor].split())
        assert f"Figure {number} {title} {caption.replace('_', '')} " in words
        assert f"Make it again: snakemake {anchor} " in words
    assert set(found.pictures) == {"figure1", "figure2"}


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
        assert f"Make it again: snakemake {anchor} --config scale=paper " in words


def test_nothing_is_fetched(tmp_path: Path) -> None:
    root = results(tmp_path)
    text = build(root, root / "report" / "index.html").read_text(encoding="utf-8")
    parsed = Page(text)
    sources = [values.get(name) or "" for _, values in parsed.found for name in ("src", "href") if name in values]
    assert sources
    assert not [source for source in sources if re.match(r"(?!data:)[a-z]+:|//", source)]
    assert "@import" not in text
    assert "url(" not in text


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
    assert len(pictures) == 2
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
    assert "snakemake table2 --config scale=paper" in texts[1]
    assert "Scale “mine”" in texts[2]


def test_the_bytes_are_the_same_each_time_and_hold_no_date(tmp_path: Path) -> None:
    root = results(tmp_path)
    first = build(root, root / "report" / "index.html").read_bytes()
    assert build(root, root / "report" / "index.html").read_bytes() == first
    assert not re.search(rb"\b20[2-9]\d-[01]\d-[0-3]\d\b", first)
    assert str(tmp_path).encode() not in first


def test_provenance_names_code_and_libraries() -> None:
    found = dict(provenance())
    assert {"dpmix", "Python", "numpy", "torch", "opacus"} <= set(found)
    assert next(iter(found)) == "dpmix"


def test_provenance_names_the_commit_of_its_own_repository_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("git"):
        lacks(GIT)

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "core.hooksPath=/dev/null"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / "dpmix"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(page.dpmix, "__file__", str(package / "__init__.py"))
    git("init")
    git("commit", "--allow-empty", "-m", "somebody else's")
    assert "commit" not in dict(provenance())
    git("add", ".")
    git("commit", "-m", "ours")
    commit = git("rev-parse", "HEAD")
    assert dict(provenance())["commit"] == commit[:12]
    (package / "__init__.py").write_text("1\n")
    assert dict(provenance())["commit"] == f"{commit[:12]} with uncommitted changes"


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no tables or figures.*snakemake table9"):
        build(tmp_path / "demo", tmp_path / "index.html")


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    root = results(tmp_path)
    (root / "tables" / "table2.json").write_text("{}")
    with pytest.raises(DataError, match=r"table2\.json"):
        build(root, root / "index.html")


SORTS = """
<script>
const head = document.querySelectorAll("th.leaf button")[0], key = document.querySelectorAll("th.key button")[0];
const order = () => [...document.querySelector("table").tBodies[0].rows].map(row => row.cells[0].textContent).join(",");
const seen = [order()];
for (const button of [head, head, head, key, key, key]) { button.click(); seen.push(order()); }
document.title = "seen " + seen.join(" ");
</script>
"""


@pytest.mark.slow
@needs(CHROMIUM, shutil.which("chromium") is not None)
def test_headers_sort_up_down_and_back(tmp_path: Path) -> None:
    values = {"m": 2.0, "a": 10.0, "z": None, "k": -1.0}
    cells = tuple(
        Cell((row,), ("1",), () if value is None else (value,), note="" if value is not None else "N/A")
        for row, value in values.items()
    )
    root = tmp_path / "demo"
    write(Table("4", "T", "C", "test accuracy (%)", ("Dataset",), ("ε",), cells, "demo"), root / "tables")
    out = build(root, root / "index.html")
    out.write_text(out.read_text(encoding="utf-8").replace("</body>", f"{SORTS}</body>"), encoding="utf-8")
    arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
    ]
    done = subprocess.run(
        ["chromium", *arguments, out.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    title = re.search(r"<title>seen (.*?)</title>", done.stdout)
    assert title is not None
    assert title[1].split() == ["m,a,z,k", "k,m,a,z", "a,m,k,z", "m,a,z,k", "a,k,m,z", "z,m,k,a", "m,a,z,k"]
