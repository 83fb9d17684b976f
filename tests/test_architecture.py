"""The house stands as docs/architecture.md draws it: nothing climbs, nothing goes in circles, tests lie beside code."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
MOST_LINES = 350
# How a first docstring begins the sentence that says why its file is longer.
REASON = "Long because "
# Modules and folders whose tests stand with those of another, and where.
ELSEWHERE = {
    # What a result was made of is seen where one has been written, and where its inputs are others since.
    "artefacts/made_of.py": "catalogue/test_changed.py",
    # The table that shows it is its only use.
    "artefacts/published_privacy.py": "tables/test_privacy.py",
    # Whether a cell is what the paper says is seen where all tables are expanded.
    "catalogue/cells.py": "catalogue/test_catalogue.py",
    # A digest is right if edits of a copy of the package rename what they should.
    "code/definitions.py": "test_code.py",
    "code/entries.py": "test_code.py",
    "code/trees.py": "test_code.py",
    # What is true of one published data set must be true of all that are registered.
    "data/published": "data/test_archives.py",
    # A maker is right if the whole chain that calls it ends in the same bytes as the workflow's steps.
    "makers": "test_targets.py",
    # What a run leaves is seen where one has run.
    "own/training/trained.py": "own/training/test_train.py",
    "own/training/written.py": "own/training/test_train.py",
    # Kinds of tables are tried on tables: the paper's, and one that is added of each kind.
    # Pictures are tried on the tables that have them.
    "report/charts": "report/test_charts.py",
    # A run is read where the report's data are.
    "report/runs.py": "report/test_data.py",
    "tables/kinds/fid.py": "tables/test_added.py",
    "tables/kinds/privacy.py": "tables/test_privacy.py",
    "tables/kinds/runtime.py": "tables/test_added.py",
    "training/embedded_views.py": "training/test_view_sets.py",
    "training/kept_views.py": "training/test_view_sets.py",
    "training/network.py": "training/test_measures.py",
    # Each mode has tests of its own: mixup, CutMix and unmixed copies.
    "views/mixing_modes.py": "views/test_cutmix.py",
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """What import-linter says of the package in a folder, by the contracts of its pyproject.toml."""
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache", "pyproject.toml"], cwd=folder, env={"PYTHONPATH": str(folder)},
        capture_output=True, text=True,
    )  # fmt: skip


def modules(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if path.name not in ("__init__.py", "__main__.py"))


# Imports --------------------------------------------------------------------------------------------------------------


def test_imports_keep_to_the_contracts() -> None:
    found = lint(ROOT)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("dpmix/data/images.py", "import dpmix.training.loop", "nothing climbs"),
        ("dpmix/own/use/predict.py", "from dpmix.own.training.spent import Record", "Rooms of own/"),
        ("dpmix/views/settings.py", "def late():\n    from dpmix.tables import build", "nothing climbs"),
        ("dpmix/privacy/plan.py", "from dpmix.files import write_json", "a library of its own"),
        ("dpmix/privacy/noise.py", "from dpmix.views.mixing import make_views", "a library of its own"),
        ("dpmix/privacy/sampling.py", "import dpmix.privacy.plan", "No circles"),
    ],
)
def test_one_that_does_not_would_be_found(file: str, line: str, contract: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "dpmix", tmp_path / "dpmix", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / file).open("a", encoding="utf-8") as changed:
        changed.write(f"\n{line}\n")
    found = lint(tmp_path)
    assert found.returncode == 1
    assert [words for words in found.stdout.splitlines() if words.endswith("BROKEN") and contract in words], (
        found.stdout
    )


def contract_of(kind: str, house: str = "dpmix") -> dict[str, Any]:
    """The one contract of pyproject.toml of this type, and for this house if it is one of layers."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (found,) = [
        one
        for one in settings["tool"]["importlinter"]["contracts"]
        if one["type"] == kind and one.get("containers", [house]) == [house]
    ]
    return found


def layered(house: str) -> set[str]:
    return {one.strip() for layer in contract_of("layers", house)["layers"] for one in layer.split("|")}


def rooms_there(house: str = "dpmix") -> set[str]:
    return {path.stem for path in ROOT.joinpath(*house.split(".")).iterdir() if not path.name.startswith("_")}


def test_privacy_may_import_errors_and_draws_and_nothing_else() -> None:
    forbidden = {name.removeprefix("dpmix.") for name in contract_of("forbidden")["forbidden_modules"]}
    assert forbidden == rooms_there() - {"privacy", "errors", "random"}


def test_every_room_has_its_place_in_the_picture() -> None:
    rooms = layered("dpmix")
    assert rooms == rooms_there()
    assert [room for room in sorted(rooms) if f"`{room}`" not in PAGE.read_text(encoding="utf-8")] == []


def test_the_rooms_of_own_are_told_of() -> None:
    rooms = layered("dpmix.own")
    assert rooms == rooms_there("dpmix.own")
    assert set(re.findall(r"^\| `own\.(\w+)` \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)) == rooms


def drawn(page: str) -> set[tuple[str, str]]:
    """The arrows of the picture; one from or to a box of several rooms stands for one of each room in it."""
    boxes = {name: re.findall(r"<code>(\w+)</code>", text) for name, text in re.findall(r'(\w+)\["(.*)"\]', page)}
    return {
        (above, below)
        for first, second in re.findall(r"^ *(\w+) --> (\w+)$", page, flags=re.MULTILINE)
        for above in boxes.get(first, [first])
        for below in boxes.get(second, [second])
    }


def imported(package: Path) -> set[tuple[str, str]]:
    """Which room imports which, wherever in a file, but for types alone."""
    found = set()
    for path in package.rglob("*.py"):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for_types = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [one.name for one in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{one.name}" for one in node.names]
            if node not in for_types:
                found |= {(room, name.split(".")[1]) for name in names if name.startswith("dpmix.")}
    return {(room, other) for room, other in found if room != other and not room.startswith("_") and other[0] != "_"}


def below(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Each room with every room that arrows lead to from it, by one or more steps."""
    reached = set(arrows)
    while more := {(room, end) for room, start in reached for first, end in arrows if start == first} - reached:
        reached |= more
    return reached


def undrawn(page: str, package: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """Imports that follow no arrows of the picture, and arrows that no import follows."""
    imports, arrows = imported(package), drawn(page)
    basic = {room for _, names in re.findall(r'(basics)\["(.*)"\]', page) for room in re.findall(r">(\w+)<", names)}
    missing = {pair for pair in imports - below(arrows) if not basic.issuperset(pair)}
    empty = []
    for line in re.findall(r"^ *(\w+ --> \w+)$", page, flags=re.MULTILINE):
        if not drawn(page.partition("-->")[0] + "\n" + line) & imports:
            empty.append(line)
    return sorted(missing), empty


def test_the_picture_is_that_of_the_imports() -> None:
    """Rooms in the lowest box import each other as the layers say."""
    page = PAGE.read_text(encoding="utf-8")
    assert len(drawn(page)) > 30
    assert undrawn(page, ROOT / "dpmix") == ([], [])


@pytest.mark.parametrize(
    ("old", "new", "missing", "empty"),
    [
        ("    figures --> training\n", "", ("figures", "training"), None),
        ("    privacy --> basics\n", "", ("privacy", "random"), None),
        ("    privacy --> basics\n", "    privacy --> basics\n    privacy --> params\n", None, "privacy --> params"),
        ("    demo --> models\n", "    models --> demo\n", ("demo", "models"), "models --> demo"),
    ],
)
def test_an_arrow_too_few_or_too_many_would_be_found(
    old: str, new: str, missing: tuple[str, str] | None, empty: str | None
) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.count(old) == 1
    found, arrows = undrawn(page.replace(old, new), ROOT / "dpmix")
    assert missing in found if missing else found == []
    assert arrows == ([empty] if empty else [])


# Files ----------------------------------------------------------------------------------------------------------------


def too_long(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    return len(text.splitlines()) > MOST_LINES and REASON not in (ast.get_docstring(ast.parse(text)) or "")


def test_a_long_file_says_why_it_is_long() -> None:
    files = [
        path
        for folder in ("dpmix", "tests", "benchmarks", "examples", "rehearsal")
        for path in (ROOT / folder).rglob("*.py")
    ]
    assert len(files) > 200
    assert [path.relative_to(ROOT).as_posix() for path in sorted(files) if too_long(path)] == []


@pytest.mark.parametrize(("lines", "says", "found"), [(350, "", False), (351, "", True), (351, REASON + "so.", False)])
def test_one_that_does_not_say_so_would_be_found(lines: int, says: str, found: bool, tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text(f'"""One. {says}"""\n' + "\n" * (lines - 1))
    assert too_long(path) == found


# Tests ----------------------------------------------------------------------------------------------------------------


def test_every_module_has_its_tests_beside_it() -> None:
    alone = []
    for module in modules(ROOT / "dpmix"):
        name = module.relative_to(ROOT / "dpmix")
        beside = name.with_name(f"test_{name.name}")
        places = [ELSEWHERE[one.as_posix()] for one in (name, *name.parents) if one.as_posix() in ELSEWHERE]
        if not (ROOT / "tests" / (places or [beside])[0]).is_file():
            alone.append(name.as_posix())
    assert alone == []


def named_in(test: Path, module: str) -> bool:
    """Whether tests name a module or folder, by an import or in words: `catalogue.cells` for `catalogue/cells.py`."""
    dotted = module.removesuffix(".py").replace("/", ".")
    package, _, name = f"dpmix.{dotted}".rpartition(".")
    ways = rf"(dpmix\.|`){re.escape(dotted)}\b", rf"from {re.escape(package)} import .*\b{name}\b"
    return re.search("|".join(ways), test.read_text(encoding="utf-8")) is not None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("from dpmix.tables.captions import TABLES", True),
        ('"""And `tables.captions`."""', True),
        ("from dpmix.tables import captions", True),
        ("from dpmix.tables import cells, captions", True),
        ("from dpmix.tables.captions_of import TABLES", False),
        ('"""Captions."""', False),
    ],
)
def test_a_test_that_names_no_module_would_be_found(text: str, named: bool, tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(text, encoding="utf-8")
    assert named_in(tmp_path / "test_one.py", "tables/captions.py") == named


def test_what_is_tested_elsewhere_is_there_and_has_no_tests_of_its_own() -> None:
    for name in ELSEWHERE:
        assert (ROOT / "dpmix" / name).exists(), name
        assert not (ROOT / "tests" / name).is_dir(), name
        assert not (ROOT / "tests" / name).with_name(f"test_{Path(name).name}").exists(), name
        assert named_in(ROOT / "tests" / ELSEWHERE[name], name), f"{ELSEWHERE[name]} says nothing of {name}"


def test_a_test_of_no_module_says_what_it_tests() -> None:
    silent = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        name = path.relative_to(ROOT / "tests")
        of_a_module = (ROOT / "dpmix" / name.with_name(name.name.removeprefix("test_"))).is_file()
        if not of_a_module and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))):
            silent.append(name.as_posix())
    assert silent == []


def test_rooms_of_tests_are_rooms_of_the_package() -> None:
    """But for the cluster, the rehearsal, the faults and the drill, which are no part of it."""
    rooms = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.glob("*.py"))}
    packages = {path.parent.name for path in (ROOT / "dpmix").glob("*/__init__.py")}
    assert rooms - packages == {"drill", "mutants", "rehearsal", "slurm"}
