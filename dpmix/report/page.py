"""Writes `index.html`: claims, tables and figures of one scale on a page that needs no network and no other file."""

import base64
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import dpmix
from dpmix.errors import DataError
from dpmix.files import write_text
from dpmix.report import claims
from dpmix.tables.captions import FIGURES
from dpmix.tables.html import escape, html
from dpmix.tables.render import read_all
from dpmix.tables.text import footers

_PACKAGES = ("numpy", "torch", "torchvision", "opacus", "dp-accounting", "open-clip-torch", "diffusers", "torchmetrics")

# The heading and first paragraph of the page, by scale: what its numbers mean.
SCALES = {
    "demo": (
        "A miniature, not the paper's numbers",
        "The private images here are scikit-learn's 1,797 handwritten digits, the encoder and the image generator are "
        "tiny networks trained on drawn strokes, and the grids are cut down, so that every table and figure can be "
        "made on a laptop in minutes. The page shows that the whole pipeline works. Its accuracies say nothing about "
        "CIFAR-10 or any other data set of the paper, and a method that wins here need not win there.",
    ),
    "paper": (
        "The paper's own grid",
        "The data sets, models, methods and privacy budgets are the paper's. Beside each measured cell stands what the "
        "paper printed. Where the paper leaves a setting open, the choice made here is written in docs/choices.md.",
    ),
}
_OTHER = (
    "A scale of your own",
    "The experiments are those of this scale in params.yaml; compare them with the paper only where the settings "
    "agree.",
)

_ALTERNATIVES = {
    1: "Rows of small pictures: one private image with its plain views, synthetic images, and mixtures of pairs of "
    "these, each captioned with its parents, mixing weight and label.",
    2: "Histograms on a logarithmic count axis, one row per data set and one column per method, of each parameter's "
    "gradient magnitude: filled for the average over epochs, lines for epochs through training.",
}


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


def _links(folder: Path, stem: str, kinds: tuple[str, ...], out: Path) -> tuple[tuple[str, str], ...]:
    """(file format, path relative to the page) of the files `<folder>/<stem>.<kind>` that exist."""
    found = [(kind, folder / f"{stem}.{kind}") for kind in kinds]
    return tuple(
        (kind.upper(), Path(os.path.relpath(path, out.parent)).as_posix()) for kind, path in found if path.is_file()
    )


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """The figures' PNG files with their numbers, in order."""
    matches = ((re.fullmatch(r"figure(\d+)", path.stem), path) for path in folder.glob("figure*.png"))
    return sorted((int(match[1]), path) for match, path in matches if match)


def _command(target: str, scale: str) -> str:
    return f"snakemake {target}" if scale == "demo" else f"snakemake {target} --config scale={scale}"


def _tables(results: Path, out: Path) -> Iterator[_Block]:
    folder = results / "tables"
    for table in read_all(folder):
        stem = table.stem
        yield _Block(
            anchor=stem,
            name=table.heading,
            number=table.name if table.name.isdigit() else "",
            title=escape(table.title),
            caption=escape(table.caption),
            markup=html(table),
            command=_command(stem, results.name),
            downloads=_links(folder, stem, ("csv", "md", "tex", "json"), out),
            footers=tuple(escape(line) for line in footers(table, stacked=True)),
        )


def _figures(results: Path, out: Path) -> Iterator[_Block]:
    folder = results / "figures"
    for number, path in _numbered(folder):
        stem = f"figure{number}"
        title, caption = FIGURES.get(number, (stem, ""))
        alternative = _ALTERNATIVES.get(number, title)
        image = base64.b64encode(path.read_bytes()).decode("ascii")
        yield _Block(
            anchor=stem,
            name=f"Figure {number}",
            number=str(number),
            title=escape(title),
            caption=escape(caption),
            markup=f'<img alt="{escape(alternative)}" src="data:image/png;base64,{image}">',
            command=_command(stem, results.name),
            downloads=_links(folder, stem, ("pdf", "png", "csv"), out),
        )


def _git(*arguments: str) -> str | None:
    """The output of git in the repository that contains this code; None if there is none, or no git."""
    command = ["git", "-C", str(Path(dpmix.__file__).parent), *arguments]
    try:
        # A copy installed inside another project's repository must not report that project's commit.
        tracked = subprocess.run([*command[:3], "ls-files", "--error-unmatch", "__init__.py"], capture_output=True)
        if tracked.returncode:
            return None
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def provenance() -> list[tuple[str, str]]:
    """(name, version) of this package, its commit, Python, and the libraries that results depend on."""
    found = [("dpmix", dpmix.__version__)]
    commit = _git("rev-parse", "HEAD")
    if commit:
        changed = _git("status", "--porcelain", "--untracked-files=no")
        found.append(("commit", commit[:12] + (" with uncommitted changes" if changed else "")))
    found.append(("Python", platform.python_version()))
    for package in _PACKAGES:
        try:
            found.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            continue
    return found


def build(results: Path, out: Path) -> Path:
    """Write the page. Equal inputs and versions give equal bytes.

    Args:
        results: the folder `results/<scale>`, of which `claims.json`, `tables/table*.json` and `figures/figure<N>.png`
            are shown, and files in other formats are linked.
        out: the .html file to write.

    Returns:
        `out`.

    Raises:
        DataError: if there are neither tables nor figures.
    """
    import jinja2

    results, out = Path(results), Path(out)
    tables, figures = list(_tables(results, out)), list(_figures(results, out))
    if not tables and not figures:
        raise DataError(
            f"{results} has no tables or figures; make some first, e.g. `{_command('table9', results.name)}`"
        )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dpmix.report", "."),
        autoescape=jinja2.select_autoescape(("html", "j2")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    heading, meaning = SCALES.get(results.name, _OTHER)
    page = environment.get_template("page.html.j2").render(
        scale=results.name,
        heading=heading,
        meaning=meaning,
        claims=claims.section(results / "claims.json"),
        claims_command=_command("claims", results.name),
        claims_files=_links(results, "claims", ("md", "json"), out),
        tables=tables,
        figures=figures,
        beside=any('class="paper"' in block.markup for block in tables),
        provenance=provenance(),
    )
    write_text(out, page if page.endswith("\n") else page + "\n")
    return out
