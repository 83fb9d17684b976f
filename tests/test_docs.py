"""Pages for people: every link leads somewhere, and every test that a page names exists."""

import ast
import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from markdown_it import MarkdownIt

from dpmix.cli.app import app
from dpmix.params.registries import TABLE_KINDS, registered

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / ".github").rglob("*.md"),
        ROOT / "results/reference/README.md",
    ]
)
# At the start, or after what joins commands and sets variables; not in a sentence about them.
CALL = re.compile(r"(?:^|&& |\| |=\S+ |-m )(dpmix|make) ([a-z][\w-]*)")
NAMED_TEST = re.compile(r"\b(tests/[\w/]+\.py)::(\w+)")


def title(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


pages = pytest.mark.parametrize("page", PAGES, ids=title)


def links(page: Path) -> list[str]:
    """What a page links to and shows, without what is quoted as code."""
    blocks = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    inline = [token for block in blocks for token in block.children or []]
    found = [str(token.attrs.get("href") or token.attrs.get("src") or "") for token in inline]
    return [link for link in found if link]


@cache
def anchors(page: Path) -> frozenset[str]:
    """The names that GitHub gives a page's headings."""
    blocks = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    names: list[str] = []
    for opening, content in pairwise(blocks):
        if opening.type == "heading_open":
            words = "".join(token.content for token in content.children or [] if token.type in ("text", "code_inline"))
            name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            taken = sum(re.fullmatch(rf"{re.escape(name)}(-\d+)?", other) is not None for other in names)
            names.append(f"{name}-{taken}" if taken else name)
    return frozenset(names)


def wrong_with(page: Path, link: str) -> str | None:
    """Why a relative link leads nowhere; None for one that leads somewhere."""
    path, _, anchor = unquote(link).partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.is_relative_to(ROOT):
        return "leaves the repository"
    if not target.exists():
        return "no such file"
    if anchor and target.suffix == ".md" and anchor not in anchors(target):
        return "no such heading"
    return None


def test_there_are_pages_and_links() -> None:
    assert {"README.md", "docs/choices.md", "docs/cluster.md"} <= {title(page) for page in PAGES}
    assert len(links(ROOT / "README.md")) > 10


@pages
def test_relative_links_lead_somewhere(page: Path) -> None:
    relative = [link for link in links(page) if not re.match(r"[a-z]+:", link)]
    assert {link: wrong for link in relative if (wrong := wrong_with(page, link))} == {}


@pytest.mark.parametrize(
    ("link", "wrong"),
    [
        ("README.md#start", None),
        ("README.md#in-an-opacus-loop", None),
        ("docs", None),
        ("README.md#begin", "no such heading"),
        ("docs/nothing.md", "no such file"),
        ("../elsewhere.md", "leaves the repository"),
    ],
)
def test_a_link_that_leads_nowhere_is_told(link: str, wrong: str | None) -> None:
    assert wrong_with(ROOT / "CHANGELOG.md", link) == wrong


def code(page: Path) -> list[str]:
    """What a page shows as code: each fenced line and each inline piece."""
    blocks = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    fenced = [line for block in blocks if block.type == "fence" for line in block.content.splitlines()]
    inline = [token.content for block in blocks for token in block.children or [] if token.type == "code_inline"]
    return fenced + inline


MOST = 130  # characters; a page's paragraphs are wrapped at about 120


@pages
def test_prose_is_wrapped(page: Path) -> None:
    lines, fenced, wide = page.read_text(encoding="utf-8").splitlines(), False, []
    for number, line in enumerate(lines, start=1):
        fenced ^= line.lstrip().startswith("```")
        # A row of a table, a picture, a line of code to look for and what a program wrote stay whole.
        if len(line) > MOST and not fenced and not re.match(r"\s*(\||!\[|\[!\[|In `|\*\*\d+ )", line):
            wide.append(number)
    assert lines
    assert wide == [], f"wrap these lines of {title(page)} at 120 characters"


def test_a_table_takes_what_its_page_says() -> None:
    text = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    takes = dict(re.findall(r"^\| `([\w-]+)` \| [^|]+ \| (.+) \|$", text, flags=re.MULTILINE))
    del takes["kind"]  # the head of the table
    assert set(takes) == set(TABLE_KINDS)
    fields = {}
    for kind, words in takes.items():
        named = set(re.findall(r"`([a-z_]+)`", words)) - {"accuracy"}
        if words.startswith(("the same without", "as `accuracy` without")):
            without, _, more = words.partition(", and ")
            left_out = set(re.findall(r"`([a-z_]+)`", without)) - {"accuracy"}
            named = fields["accuracy"] - left_out | set(re.findall(r"`([a-z_]+)`", more))
        fields[kind] = named
        assert named | {"kind", "title", "caption"} == set(registered(TABLE_KINDS, kind).model_fields), kind


def test_the_page_of_claims_says_how_many_there_are() -> None:
    """Of so many claims that are not true, the chance that one is called supported, each in one of forty lists."""
    claims = yaml.safe_load((ROOT / "dpmix/claims/claims.yaml").read_text(encoding="utf-8"))
    page = " ".join((ROOT / "docs/claims.md").read_text(encoding="utf-8").split())
    assert len(claims) == 18
    assert 1 - (1 - 1 / 40) ** len(claims) < 1 / 2
    assert "Of eighteen claims of which none were true, fewer than one in two such lists" in page


def verbs() -> set[str]:
    """The command line's verbs."""
    commands = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    return {*commands, *(str(group.name) for group in app.registered_groups)}


def goals() -> set[str]:
    """The targets that a person may give to make."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][\w-]*):(?!=)", text, flags=re.MULTILINE))


def test_every_command_that_a_page_names_is_there() -> None:
    named = {(page, *call) for page in PAGES for line in code(page) for call in re.findall(CALL, line)}
    assert len({verb for _, program, verb in named if program == "dpmix"}) >= 6
    assert len({goal for _, program, goal in named if program == "make"}) >= 6
    there = {"dpmix": verbs(), "make": goals()}
    assert [f"{title(page)}: {program} {what}" for page, program, what in named if what not in there[program]] == []


def missing_tests(text: str) -> list[str]:
    """The tests that a text names and nobody wrote."""
    return [f"{path}::{name}" for path, name in NAMED_TEST.findall(text) if name not in functions_of(path)]


@cache
def functions_of(path: str) -> frozenset[str]:
    if not (ROOT / path).is_file():
        return frozenset()
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pages
def test_every_named_test_exists(page: Path) -> None:
    assert missing_tests(page.read_text(encoding="utf-8")) == []


def test_a_test_that_is_gone_is_told() -> None:
    names = ["tests/test_docs.py::test_that_went", "tests/gone.py::test_docs"]
    assert missing_tests(f"`{names[0]}`, tests/test_docs.py::test_a_test_that_is_gone_is_told, {names[1]}") == names
