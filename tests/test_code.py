"""Which code a result is of: what changes its digest, and which results have other names then."""

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from dpmix import code
from dpmix.artefacts.base import Artefact
from dpmix.artefacts.data import DiffusionModel
from dpmix.build import maker_of
from dpmix.catalogue.catalogue import Catalogue
from dpmix.params.read import read

# Where a package lies that a test may edit: digests of its rooms, and the kinds of artefacts by path.
SAY = """\
import json
from pathlib import Path
from dpmix import code
from dpmix.catalogue.catalogue import Catalogue
from dpmix.params.read import read
catalogue = Catalogue(read(Path("params.yaml")))
paths = {path: type(one).__name__ for path, one in catalogue.artefacts.items()}
stamps = {target: catalogue.fingerprint(target) for target in [*catalogue.targets, "report"]}
print(json.dumps([code.digests(code.ROOMS), paths, stamps]))
"""


class Package:
    """A copy of the package, to be edited."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.folder = folder
        shutil.copytree(repository / "dpmix", folder / "dpmix", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(repository / "params.yaml", folder)

    def run(self, *arguments: str) -> str:
        run = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env={**os.environ, "PYTHONPATH": str(self.folder)},
            capture_output=True, text=True,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        return run.stdout

    def says(self) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
        """The digests of all rooms, the kinds of artefacts by their paths, and the stamps of targets."""
        return tuple(json.loads(self.run("-c", SAY)))  # type: ignore[return-value]

    def edit(self, file: str, change: Callable[[str], str]) -> None:
        path = self.folder / "dpmix" / file
        text = path.read_text(encoding="utf-8")
        changed = change(text)
        assert changed != text
        path.write_text(changed, encoding="utf-8")


@pytest.fixture
def package(tmp_path: Path, repository: Path) -> Package:
    copied = Package(tmp_path, repository)
    copied.run("-m", "dpmix.code")
    return copied


def test_what_does_not_compute_changes_nothing(package: Package) -> None:
    before = package.says()
    package.edit("views/mixing.py", lambda text: "# A comment.\n" + text)
    package.edit("views/draws.py", lambda text: re.sub(r'^"""[^"]*"""', '"""Other words."""', text))
    package.edit("privacy/noise.py", lambda text: re.sub(r'Error\(\s*f?"', lambda found: found[0] + "so: ", text))
    package.edit("data/splits.py", lambda text: text.replace("\n\n\n", "\n\n\n\n\n"))
    package.edit("training/loop.py", lambda text: text.replace(") -> None:", ") -> 'None':"))
    (package.folder / "dpmix" / "views" / "empty.py").write_text('"""Nothing yet."""\n')
    assert package.says() == before


@pytest.mark.parametrize(
    ("file", "kinds"),
    [
        ("views/mixing.py", {"Experiment", "Selection", "GradientRecord", "Distance"}),
        ("evaluation/zero_shot.py", {"ZeroShot", "Distance"}),
        ("demo/diffusion.py", {"DiffusionModel", "EncoderModel", "SyntheticSet", "SyntheticStore", "Experiment",
                               "Selection", "GradientRecord", "ZeroShot", "Distance"}),
        ("privacy/plan.py", {"PlanFile", "PublishedPrivacy", "CanaryAttack", "Experiment", "Selection",
                             "GradientRecord", "Distance"}),
        ("data/archives.py", set()),
        ("errors.py", set()),
    ],
)  # fmt: skip
def test_other_code_gives_other_names_to_what_it_computes(package: Package, file: str, kinds: set[str]) -> None:
    _, before, stamps = package.says()
    package.edit(file, lambda text: text + "\n_ANOTHER = 1\n")
    digests, after, other_stamps = package.says()
    assert {kind for path, kind in after.items() if path not in before} == kinds
    for kind in kinds - {"EncoderModel", "Experiment", "Distance", "Selection"}:
        assert not {path for path in before.keys() & after.keys() if before[path] == kind}
    assert {target for target in stamps if stamps[target] != other_stamps[target]} >= ({"report"} if kinds else set())
    # Whoever says that the results are the same has them back.
    package.run("-m", "dpmix.code")
    assert package.says() == (digests, before, stamps)


def test_code_that_shows_results_shows_them_anew(package: Package) -> None:
    _, before, stamps = package.says()
    package.edit("tables/render.py", lambda text: text + "\n_ANOTHER = 1\n")
    _, after, other = package.says()
    assert after == before
    changed = {target for target in stamps if stamps[target] != other[target]}
    assert changed == {target for target in stamps if target.startswith("table")} | {"report"}


def test_half_an_edit_is_one_line(package: Package) -> None:
    package.edit("views/mixing.py", lambda text: text + "\ndef half(\n")
    run = subprocess.run(
        [sys.executable, "-m", "dpmix", "check"], cwd=package.folder,
        env={**os.environ, "PYTHONPATH": str(package.folder)}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert re.search(r"mixing\.py is no Python: .* \(line \d+\); mend it$", line)


# Completeness ---------------------------------------------------------------------------------------------------------

# Modules that a maker imports although what it makes does not depend on them.
FETCHED = {DiffusionModel: {"synthesis", "data"}}


def imported(tree: ast.AST, modules: dict[str, Path]) -> set[str]:
    """The modules of this package that a syntax tree imports when it runs."""
    typing = {
        id(one)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for one in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in typing:
            whole = {f"{node.module}.{one.name}" for one in node.names}
            found |= (whole & modules.keys()) or ({node.module} & modules.keys())
    return found


def reached(starts: Iterable[str], modules: dict[str, Path]) -> set[str]:
    """What these modules import, and so on, but through descriptions of what to make."""
    seen, left = set[str](), list(starts)
    while left:
        name = left.pop()
        if name not in seen and modules[name].relative_to(code.RECORD.parent).as_posix() not in code.ASIDE:
            seen.add(name)
            if name.split(".")[1:2] not in (["params"], ["artefacts"]):
                left += imported(ast.parse(modules[name].read_bytes()), modules)
    return seen


def test_every_room_that_a_maker_imports_is_among_those_that_it_is_said_to_be_made_by(repository: Path) -> None:
    files = {path.relative_to(repository).with_suffix(""): path for path in (repository / "dpmix").rglob("*.py")}
    modules = {".".join(name.parts).removesuffix(".__init__"): path for name, path in files.items()}
    catalogue = Catalogue(read(repository / "params.yaml"), "demo")
    kinds: set[type[Artefact]] = {type(one) for one in catalogue.artefacts.values()}
    assert len(kinds) >= 11
    found = set[str]()
    for kind in kinds:
        make = maker_of(kind).make
        body = ast.parse(textwrap.dedent(inspect.getsource(make)))
        used = {node.id for node in ast.walk(body) if isinstance(node, ast.Name)}
        above = ast.parse(inspect.getsource(inspect.getmodule(make)))  # type: ignore[arg-type]
        above.body = [
            node
            for node in above.body
            if isinstance(node, ast.ImportFrom) and {one.asname or one.name for one in node.names} & used
        ]
        names = {
            name.removeprefix("dpmix.") for name in reached(imported(body, modules) | imported(above, modules), modules)
        }
        needed = {room for room in code.ROOMS for name in names if name == room or name.startswith(f"{room}.")}
        found |= needed
        said = set[str]().union(*(one.code() for one in catalogue.of(kind)))
        assert needed - FETCHED.get(kind, set()) <= said, kind
    assert {"training", "views", "models", "data", "privacy", "synthesis", "evaluation", "random"} <= found
