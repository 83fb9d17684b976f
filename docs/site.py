"""What mkdocs.yml asks of this project's pages: those beside `docs/`, links between both, and the API reference.

Pages are written for a repository: README.md links to docs/, and docs/ to sources. Here each page outside `docs/` gets
a place on the site, each source that a page links to becomes a page, and links follow.
"""

import ast
import posixpath
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md", "benchmarks/README.md": "benchmarks.md",
}  # fmt: skip
"""Pages outside docs/ and where they are on the site."""

LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".cff": "yaml", ".md": "markdown", ".toml": "toml"}
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_REFERENCE = "reference"
_FETCHED, _SCRIPT = "https://unpkg.com/iframe-worker/shim", "iframe-worker.js"


def on_config(config: Any) -> Any:
    """Fill the menu's entry of the API reference, and name headings as GitHub does, so that links to them fit both."""
    loop = next(entry["In a loop"] for entry in config.nav if "In a loop" in entry)
    loop[-1]["Reference"] = [{module: f"{_REFERENCE}/{module}.md"} for module in modules()]
    config.mdx_configs["toc"]["slugify"] = _slug
    config.markdown_extensions.append(_Examples())
    return config


def _slug(heading: str, separator: str) -> str:
    """The name that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", separator)


class _Examples(Extension):
    """Examples of docstrings, which begin with `>>>`, are code; Markdown would have them quoted three times."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.preprocessors.register(_Fenced(md), "examples", 27)  # before fences, which have 25, are read


class _Fenced(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        found: list[str] = []
        fenced = example = False
        for line in lines:
            if not example:
                fenced ^= line.lstrip().startswith("```")
            if example != (starts := not fenced and (line.startswith(">>> ") or (example and bool(line.strip())))):
                found.append("```pycon" if starts else "```")
            example = starts
            found.append(line)
        return found + ["```"] * example


def modules() -> list[str]:
    """The modules behind the names that `dpmix` exports, as its imports for type checkers name them."""
    tree = ast.parse((ROOT / "dpmix" / "__init__.py").read_text(encoding="utf-8"))
    found = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return sorted({module for module in found if module.startswith("dpmix.")})


def on_files(files: Files, config: Any) -> Files:
    """Add the pages outside docs/, the reference, and a page for each source that any of them links to."""
    for name, uri in PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / name).read_text(encoding="utf-8")))
    for module in modules():
        files.append(File.generated(config, f"{_REFERENCE}/{module}.md", content=f"::: {module}\n"))
    for page in list(files.documentation_pages()):
        for _, link, _ in _LINK.findall(page.content_string):
            name = _target(page.src_uri, link)
            if name and name not in PAGES and not files.get_file_from_path(_on_site(name)):
                files.append(File.generated(config, _on_site(name), content=_source(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links that leave docs/, or lead into it from outside, lead to the same on the site."""

    def follow(found: re.Match[str]) -> str:
        name = _target(page.file.src_uri, found[2])
        if name is None:
            return found[0]
        anchor = found[2].partition("#")[2]
        uri = posixpath.relpath(_on_site(name), posixpath.dirname(page.file.src_uri) or ".")
        return f"{found[1]}{uri}{'#' * bool(anchor)}{anchor}{found[3]}"

    return _LINK.sub(follow, markdown)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """The theme has the script by which a page opened from a disk searches fetched; here it lies beside the pages."""
    return output.replace(_FETCHED, posixpath.relpath(_SCRIPT, posixpath.dirname(page.url) or "."))


def on_post_template(output: str, template_name: str, config: Any) -> str:
    """The same for the page of what is not found."""
    return output.replace(_FETCHED, _SCRIPT)


def _target(uri: str, link: str) -> str | None:
    """The path in the repository that a link of a page leads to; None for one elsewhere or within the page."""
    path = unquote(link.partition("#")[0])
    if not path or re.match(r"[a-z]+:", path) or uri.startswith(("source/", _REFERENCE)):
        return None
    origin = next((name for name, place in PAGES.items() if place == uri), f"docs/{uri}")
    name = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
    return name if (ROOT / name).exists() else None


def _on_site(name: str) -> str:
    """Where something of the repository is on the site."""
    if name in PAGES:
        return PAGES[name]
    if name.startswith("docs/") and name.endswith((".md", ".png")):
        return name.removeprefix("docs/")
    shown = re.sub(r"(^|/)\.", r"\1", name)  # mkdocs leaves out what begins with a dot
    return f"source/{shown}.md"


def _source(path: Path) -> str:
    """A page that shows a file, or what a folder holds."""
    title = path.relative_to(ROOT).as_posix()
    front = f"---\ntitle: {title}\nsearch:\n  exclude: true\n---\n\n# `{title}`\n\n"
    if path.is_dir():
        inside = sorted(one.name for one in path.iterdir() if not one.name.startswith(("__", ".")))
        return front + "\n".join(f"- `{name}`" for name in inside) + "\n"
    text = path.read_text(encoding="utf-8").rstrip()
    return f"{front}````{LANGUAGES.get(path.suffix, 'text')}\n{text}\n````\n"
