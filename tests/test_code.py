"""`code`: what changes the digest of a room or an entry, and which results have other names then.

With it `code.trees`, `code.definitions` and `code.entries`, which are seen by what they tell apart.
"""

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
from typing import NamedTuple

import pytest

from dpmix import code
from dpmix.artefacts.base import Artefact
from dpmix.artefacts.data import DiffusionModel
from dpmix.build import maker_of
from dpmix.catalogue.catalogue import Catalogue
from dpmix.code.definitions import Name, used
from dpmix.code.entries import registered
from dpmix.code.trees import words
from dpmix.errors import DpmixError
from dpmix.params.read import read
from tests.test_add_a_method import PAGE, apply, steps

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
uses = {path: [name for name in one.code() if ":" in name] for path, one in catalogue.artefacts.items()}
print(json.dumps([code.digests([*code.ROOMS, *code.shares().entries]), paths, stamps, uses]))
"""


class Said(NamedTuple):
    """What the code of a package says of the demo."""

    digests: dict[str, str]
    paths: dict[str, str]
    stamps: dict[str, str]
    uses: dict[str, list[str]]


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

    def says(self) -> Said:
        """What the code as it is says."""
        return Said(*json.loads(self.run("-c", SAY)))

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
        ("artefacts/run_values.py", {"Experiment", "Selection", "GradientRecord", "Distance"}),
        ("artefacts/experiment.py", set()),
        ("data/archives.py", set()),
        ("errors.py", set()),
    ],
)  # fmt: skip
def test_other_code_gives_other_names_to_what_it_computes(package: Package, file: str, kinds: set[str]) -> None:
    _, before, stamps, uses = package.says()
    package.edit(file, lambda text: text + "\n_ANOTHER = 1\n")
    digests, after, other_stamps, _ = package.says()
    assert {kind for path, kind in after.items() if path not in before} == kinds
    for kind in kinds - {"EncoderModel", "Experiment", "Distance", "Selection"}:
        assert not {path for path in before.keys() & after.keys() if before[path] == kind}
    assert {target for target in stamps if stamps[target] != other_stamps[target]} >= ({"report"} if kinds else set())
    # Whoever says that the results are the same has them back.
    package.run("-m", "dpmix.code")
    assert package.says() == (digests, before, stamps, uses)


# Entries --------------------------------------------------------------------------------------------------------------


def test_what_is_added_as_the_page_says_leaves_all_finished_results_where_they_are(package: Package) -> None:
    """docs/add-a-method.md: a transform, a clipping mode, a data set and a network, none of which the demo uses."""
    before = package.says()
    added = [step for step in steps(PAGE.read_text(encoding="utf-8")) if re.search("`dpmix/", step.before)]
    assert len(added) >= 8
    for step in added:
        apply(step, package.folder)
    after = package.says()
    assert after.digests.keys() - before.digests.keys() == {
        "PIXEL_TRANSFORMS:darken", "CLIPPING_MODES:truncated", "DATA_SETS:fake", "module:PlainCNNSpec",
    }  # fmt: skip
    assert {name: after.digests[name] for name in before.digests} == before.digests
    assert after[1:] == before[1:]


@pytest.mark.parametrize(
    ("file", "old", "new", "entry"),
    [
        ("views/transforms.py", "CUTOUT_SIDE = 0.5", "CUTOUT_SIDE = 0.4", "PIXEL_TRANSFORMS:cutout"),
        ("views/mixing_modes.py", "np.sqrt(1 - weights)", "np.sqrt(1 - weights**2)", "MIXING_MODES:cutmix"),
        ("models/resnet.py", "bias=False", "bias=True", "module:ResNetSpec"),
        ("training/jax_network.py", '_TOGETHER = {"cpu": 1}', '_TOGETHER = {"cpu": 2}', "ENGINES:jax"),
        ("data/published/eurosat.py", "eurosat/EuroSAT.zip", "eurosat/Other.zip", "DATA_SETS:eurosat"),
    ],
)
def test_an_entry_that_is_changed_renames_those_that_use_it_and_no_others(
    package: Package, file: str, old: str, new: str, entry: str
) -> None:
    before = package.says()
    package.edit(file, lambda text: text.replace(old, new))
    after = package.says()
    assert {name for name in after.digests if after.digests[name] != before.digests[name]} == {entry}
    renamed = before.paths.keys() - after.paths.keys()
    assert renamed == {path for path, names in before.uses.items() if entry in names}
    assert 0 < len(renamed) < len(before.paths) or entry in ("DATA_SETS:eurosat", "MIXING_MODES:cutmix")


# Rooms that only show, and what an edit of each shows anew: claims use code of figures, and both that of tables.
SHOWING: dict[str, Callable[[str], bool]] = {
    "tables/statistics.py": lambda target: True,
    "figures/draw.py": lambda target: not target.startswith("table"),
    "claims/judge.py": lambda target: target in ("claims", "report"),
    "report/data.py": lambda target: target == "report",
}


@pytest.mark.parametrize("file", SHOWING)
def test_code_that_shows_results_shows_them_anew(package: Package, file: str) -> None:
    _, before, stamps, _ = package.says()
    package.edit(file, lambda text: text + "\n_ANOTHER = 1\n")
    _, after, other, _ = package.says()
    assert after == before
    assert {"table12", "figure2", "claims", "report"} <= stamps.keys()
    assert {target for target in stamps if stamps[target] != other[target]} == set(filter(SHOWING[file], stamps))


def test_rooms_that_show_use_no_other_such_code_than_is_followed(repository: Path) -> None:
    files = {path.relative_to(repository).with_suffix(""): path for path in (repository / "dpmix").rglob("*.py")}
    modules = {".".join(name.parts).removesuffix(".__init__"): path for name, path in files.items()}
    uses = {
        (module.split(".")[1], name.split(".")[1])
        for module, path in modules.items()
        if module.split(".")[1:2] in (["tables"], ["figures"], ["claims"])
        for name in imported(ast.parse(path.read_bytes()), modules)
    }
    shows = {"tables", "figures", "claims", "report"}
    found = {(room, other) for room, other in uses if room != other and other in shows}
    assert found == {("claims", "figures"), ("claims", "tables"), ("figures", "tables")}


# A process that names its results, during which the code is edited: before it makes any, or before it loads the rest.
EDITED = """\
import sys
from pathlib import Path
from dpmix import code
from dpmix.catalogue.catalogue import Catalogue
from dpmix.errors import DpmixError
from dpmix.params.read import read
when, file, more = sys.argv[1:]
Catalogue(read(Path("params.yaml"))).artefacts
try:
    if when == "loading":
        code.hold()
    with Path("dpmix", file).open("a") as text:
        text.write(more)
    code.hold()
    import dpmix.evaluation.zero_shot
    print("loaded")
except DpmixError as error:
    print(error)
"""


@pytest.mark.parametrize("when", ["making", "loading"])
@pytest.mark.parametrize(
    ("file", "more", "loads"),
    [
        ("evaluation/zero_shot.py", "_ANOTHER = 1\n", False),
        ("evaluation/zero_shot.py", "# A comment.\n", True),
        ("tables/render.py", "_ANOTHER = 1\n", True),
    ],
)
def test_what_is_edited_after_results_got_their_names_does_not_make_them(
    package: Package, when: str, file: str, more: str, loads: bool
) -> None:
    said = package.run("-c", EDITED, when, file, more)
    assert said == ("loaded\n" if loads else "the code has been edited since this process worked out what its results "
                    "are called; start it again\n")  # fmt: skip


def test_half_an_edit_is_one_line(package: Package) -> None:
    package.edit("views/mixing.py", lambda text: text + "\ndef half(\n")
    run = subprocess.run(
        [sys.executable, "-m", "dpmix", "check"], cwd=package.folder,
        env={**os.environ, "PYTHONPATH": str(package.folder)}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert re.search(r"mixing\.py is no Python: .* \(line \d+\); mend it$", line)


def test_a_registry_that_does_not_write_its_names_down_is_one_line(tmp_path: Path) -> None:
    shutil.copytree(code.RECORD.parent, tmp_path / "dpmix", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "dpmix" / "views" / "transforms.py"
    text = file.read_text(encoding="utf-8")
    line = r"dpmix\.views\.transforms\.INDEX_TRANSFORMS \(line \d+\) is no dict .*; write each as one line of it"
    for other in ('{**_MORE, "crop": _crop}', "dict(crop=_crop)"):
        file.write_text(text.replace('{"crop": _crop, "flip": _flip}', other), encoding="utf-8")
        with pytest.raises(DpmixError, match=f"^{line}$"):
            registered(tmp_path / "dpmix")


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    from dpmix.there import one\nexcept ImportError:\n    one = None",
        "class A:\n    def a(self):\n        from dpmix.there import one\n    def b(self):\n        return one()",
    ],
)
def test_a_name_is_followed_to_all_that_it_may_stand_for(text: str) -> None:
    found = {name._replace(attribute="") for name in used(ast.parse(text).body[0], "dpmix.here")}
    assert Name("dpmix.there", "one") in found
    assert Name("dpmix.here", "one") in found or text.startswith("try")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{**a, 'k': b}", "{'k': a, **b}"),
        ("def f(*, a, b=1): pass", "def f(*, a=1, b): pass"),
        ("x[1:]", "x[:1]"),
        ("f('a', b)", "f('a\\0b')"),
    ],
)
def test_other_code_has_other_words(one: str, other: str) -> None:
    assert [*words(ast.parse(one))] != [*words(ast.parse(other))]


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
