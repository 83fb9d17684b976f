"""docs/ as a site: `make docs` builds it strictly, nothing is lost on the way, and it is read without a network."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from tests.needs import CHROMIUM, DOCS, module, needs
from tests.report.page.window import AA, QUIET, THEMES

pytestmark = pytest.mark.slow

# Pages outside docs/, and where they are on the site.
PAGES = {
    "README.md": "index.html", "CONTRIBUTING.md": "contributing.html", "SECURITY.md": "security.html",
    "CHANGELOG.md": "changelog.html", "benchmarks/README.md": "benchmarks.html",
}  # fmt: skip
MAIN = ("index.html", "use.html", "own-images/index.html", "api.html", "reference/dpmix.privacy.plan.html")
# What Markdown makes lists, tables, code and headings of.
PARTS = ("li", "ol", "ul", "tr", "td", "pre", "h1", "h2", "h3", "h4", "blockquote", "strong", "em", "img")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    module("material", DOCS)
    module("mkdocstrings", DOCS)
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=repository, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


class Parts(HTMLParser):
    """How many elements there are of each kind, and every address in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.kinds: Counter[str] = Counter()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.kinds[tag] += 1
        if tag == "a":
            self.links.append(values.get("href") or "")
        else:
            self.fetched += [values[name] or "" for name in ("src", "href") if name in values]


def article(page: Path) -> str:
    found = re.search(r"<article.*?</article>", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert found is not None
    return found[0]


def test_each_page_has_the_lists_tables_and_code_that_a_repository_shows(site: Path, repository: Path) -> None:
    """The site's Markdown is another dialect than GitHub's, and asks for more indentation inside a list."""
    pages = dict(PAGES)
    for path in (repository / "docs").rglob("*.md"):
        name = path.relative_to(repository).as_posix()
        pages[name] = re.sub(r"(README)?\.md$", lambda end: "index.html" if end[1] else ".html", name[len("docs/") :])
    assert len(pages) > 20
    for name, place in pages.items():
        text = (repository / name).read_text(encoding="utf-8")
        ours = Parts(MarkdownIt("commonmark").enable("table").render(text)).kinds
        there = Parts(article(site / place)).kinds
        assert {part: there[part] for part in PARTS} == {part: ours[part] for part in PARTS}, name


def test_links_of_the_readme_lead_to_the_same_pages(site: Path) -> None:
    links = [link for link in Parts(article(site / "index.html")).links if not re.match(r"#|[a-z]+:", link)]
    assert {"use.html", "own-images/index.html", "contributing.html", "source/params.yaml.html"} <= set(links)
    assert "source/examples/opacus_loop.py.html" in links
    assert [link for link in links if not (site / link.partition("#")[0]).is_file()] == []


def test_a_page_of_a_source_shows_it(site: Path, repository: Path) -> None:
    page = (site / "source" / "examples" / "opacus_loop.py.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", "", article(site / "source" / "examples" / "opacus_loop.py.html"))
    assert 'class="md-nav' in page
    for line in (repository / "examples" / "opacus_loop.py").read_text(encoding="utf-8").splitlines()[:10]:
        assert line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', '"') in text


def test_the_reference_has_every_exported_name_with_its_example(site: Path) -> None:
    import dpmix

    pages = {path.stem: article(path) for path in (site / "reference").glob("*.html")}
    for name in dpmix.__all__:
        where, real = dpmix._HOMES[name]
        assert f'id="{where}.{real}"' in pages[where], name
    plan = pages["dpmix.privacy.plan"]
    assert plan.count('class="gp"') > 5
    assert "<blockquote>" not in plan


def test_nothing_is_fetched(site: Path) -> None:
    fetched = {link for page in site.rglob("*.html") for link in Parts(page.read_text(encoding="utf-8")).fetched}
    assert len(fetched) > 5
    assert [link for link in fetched if re.match(r"//|(?!data:)[a-z]+:", link)] == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)


@needs(CHROMIUM, shutil.which("chromium") is not None)
@pytest.mark.parametrize("theme", THEMES)
def test_level_aa_on_the_main_pages_and_a_search_without_a_network(browser: Any, site: Path, theme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=theme, offline=True) as window:
        page, asked = window.new_page(), []
        page.set_default_timeout(240_000)
        page.on("request", lambda one: one.url.startswith(("http", "ws")) and asked.append(one.url))
        for name in MAIN:
            page.goto((site / name).as_uri())
            assert page.locator("body").get_attribute("data-md-color-scheme") == {"dark": "slate"}.get(theme, "default")
            found = Axe().run(page, options=AA)
            assert [(name, one["id"], one["nodes"][0]["html"][:200]) for one in found.response["violations"]] == []
        page.goto((site / "index.html").as_uri())
        page.locator("input[name=query]").first.fill("amplification")
        page.locator(".md-search-result__item").first.wait_for()
        assert asked == []
