"""Every writer of the package leaves the old file whole when it is stopped, at its start, middle or last byte."""

import ast
import errno
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dpmix.cli.plan import _write_csv
from dpmix.data.images import load
from dpmix.data.sources import prepare
from dpmix.data.store import pack_images
from dpmix.errors import DpmixError
from dpmix.figures.figure1 import Figure1Data, figure1
from dpmix.figures.figure2 import GradientPanel, figure2
from dpmix.files import write_json, write_text
from dpmix.models.libraries.open_clip import save_open_clip
from dpmix.models.libraries.timm import save_timm
from dpmix.params.specs import DatasetSpec
from dpmix.report.page.build import build
from dpmix.synthesis.draw import _save
from dpmix.synthesis.folder import gather
from dpmix.synthesis.pipeline import save_model
from dpmix.tables.cells import Cell, Table
from dpmix.tables.render import write
from dpmix.training.checkpoint import Checkpoint
from tests.old_files import OLD, names, old_folder

pytestmark = pytest.mark.filterwarnings("ignore")

# Every writer ---------------------------------------------------------------------------------------------------------


def table() -> Table:
    cells = (Cell(("a",), ("1",), (70.0, 72.0), 0.5),)
    return Table("4", "Title", "Caption", "test accuracy (%)", ("Dataset",), ("ε",), cells, "demo")


def figure_data() -> Figure1Data:
    images = np.random.default_rng(0).random((4, 3, 8, 8), dtype=np.float32)
    return Figure1Data(images[0], "a", images[1:2], images[2:3], ("b",), images[3:], np.array([0.5]),
                       np.array([[0.5, 0.5]]), ("a", "b"))  # fmt: skip


class Pipeline:
    """What `save_model` asks of a diffusion pipeline."""

    def save_pretrained(self, folder: Path, safe_serialization: bool) -> None:
        from safetensors.torch import save_file

        assert safe_serialization
        save_file({"weight": torch.zeros(200)}, folder / "model.safetensors")
        (folder / "model_index.json").write_text("{}")


def tiny_clip(out: Path) -> None:
    import open_clip

    config: dict[str, Any] = {
        "embed_dim": 4,
        "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 8, "head_width": 8, "layers": 1},
        "text_cfg": {"context_length": 8, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1},
    }
    save_open_clip(open_clip.CLIP(**config), config, {"mean": [0.5] * 3, "std": [0.5] * 3}, out)


def tiny_timm(out: Path) -> None:
    import timm

    save_timm(timm.create_model("test_vit", num_classes=0), out)


def public(folder: Path) -> Path:
    """Class folders of noise, made once."""
    for name in ("a", "b"):
        for index in range(4):
            path = folder / name / f"{index}.png"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = np.random.default_rng(index).integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(noise).save(path)
    return folder


def store(folder: Path) -> DatasetSpec:
    return DatasetSpec(
        name="m", label="M", source="folder", classes=2, train=6, test=2, path=str(public(folder / "in"))
    )


def shown(folder: Path) -> Path:
    """Results for a page, made once."""
    if not (folder / "demo").exists():
        write(table(), folder / "demo" / "tables")
    return folder / "demo"


# By name: a call that writes, given a folder for what it reads and the path that it is to make.
FILES: dict[str, Callable[[Path, Path], Any]] = {
    "text": lambda _, out: write_text(out, "text " * 50),
    "json": lambda _, out: write_json(out, list(range(50))),
    "checkpoint": lambda _, out: Checkpoint(out).save({"weight": torch.ones(100)}, {"step": 3}),
    "png": lambda _, out: _save(Image.fromarray(np.zeros((40, 40, 3), np.uint8)), out, 40),
    "page": lambda folder, out: build(shown(folder), out),
    "cost": lambda _, out: _write_csv(out, [], None, None),  # type: ignore[arg-type]
}
SEVERAL: dict[str, Callable[[Path, Path], Any]] = {
    "table": lambda _, out: write(table(), out),
    "figure 1": lambda _, out: figure1(figure_data(), out / "figure1"),
    "figure 2": lambda _, out: figure2([GradientPanel("d", "m", np.ones((1, 9), np.float32))], out / "figure2"),
}
FOLDERS: dict[str, Callable[[Path, Path], Any]] = {
    "encoder": lambda _, out: tiny_clip(out),
    "backbone": lambda _, out: tiny_timm(out),
    "pipeline": lambda _, out: save_model(Pipeline(), out),
    "given D": lambda folder, out: gather(public(folder / "in"), ("a", "b"), 8, out),
    "store": lambda folder, out: prepare(store(folder), 16, folder, out),
    "store of D": lambda folder, out: pack_images(
        sorted(public(folder / "in").rglob("*.png")), np.repeat([0, 1], 4), ("a", "b"), 16, out
    ),
}


def limited(write: Callable[[], Any], size: int) -> int:
    """Run a writer in a process of its own that can write no file beyond `size` bytes.

    Returns 0 if it went through, 1 if it ended with a line, 2 for any other error.
    """
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 2
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        write()
        code = 0
    except DpmixError as error:
        code = 1 if "\n" not in str(error) and os.strerror(errno.EFBIG) in str(error) else 2
    finally:
        os._exit(code)


def largest(folder: Path) -> int:
    return max(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def sizes(limit: int) -> Iterator[int]:
    """At once, in the middle, and at the last byte."""
    yield from (0, limit // 2, limit - 1)


@pytest.mark.parametrize("writer", [*FILES, *SEVERAL])
def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path, writer: str) -> None:
    place = tmp_path / "out" / ("made.png" if writer == "png" else "made.json") if writer in FILES else tmp_path / "out"
    call = (FILES | SEVERAL)[writer]
    call(tmp_path, place)
    made = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert made
    limit = largest(tmp_path / "out")
    for size in sizes(limit):
        for path in made:
            path.write_bytes(OLD)
        assert limited(lambda: call(tmp_path, place), size) == 1
        # Those smaller than the limit may be there already; none is anything but old or new.
        assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in made}
        found = {path: path.read_bytes() for path in made}
        assert all(content in (OLD, made[path]) for path, content in found.items())
        assert OLD in found.values()
    # And whoever holds the old one open goes on reading it.
    for path in made:
        path.write_bytes(OLD)
        os.link(path, tmp_path / f"kept {path.name}")
    call(tmp_path, place)
    for path, content in made.items():
        assert path.read_bytes() == content
        assert (tmp_path / f"kept {path.name}").read_bytes() == OLD


@pytest.mark.parametrize("writer", FOLDERS)
def test_a_folder_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path, writer: str) -> None:
    call, out = FOLDERS[writer], tmp_path / "out" / "made"
    call(tmp_path, out)
    whole = {path.relative_to(out).as_posix() for path in out.rglob("*")}
    assert whole
    limit = largest(out)
    for old in (True, False):
        for size in sizes(limit):
            shutil.rmtree(out.parent)
            out.parent.mkdir()
            if old:
                old_folder(out)
            assert limited(lambda: call(tmp_path, out), size) == 1
            assert [name for name in names(out.parent) if name != ".made.partial"] == (["made"] if old else [])
            assert not old or names(out) == ["one"]
    # What was begun is gone on with.
    call(tmp_path, out)
    assert {path.relative_to(out).as_posix() for path in out.rglob("*")} == whole
    assert names(out.parent) == ["made"]


def test_a_store_that_was_begun_anew_is_as_one_made_at_once(tmp_path: Path) -> None:
    spec = store(tmp_path)
    prepare(spec, 16, tmp_path, tmp_path / "once" / "made")
    assert limited(lambda: prepare(spec, 16, tmp_path, tmp_path / "twice" / "made"), 3000) == 1
    prepare(spec, 16, tmp_path, tmp_path / "twice" / "made")
    for split in ("train", "test"):
        once, twice = (load(tmp_path / name / "made", split) for name in ("once", "twice"))
        assert np.array_equal(once.images, twice.images)
        assert once.labels.tolist() == twice.labels.tolist()
    assert json.loads((tmp_path / "twice" / "made" / "meta.json").read_text())["sizes"] == {"train": 6, "test": 2}


# The rest of them -----------------------------------------------------------------------------------------------------

WRITES = {
    "write_text", "write_bytes", "savez", "savez_compressed", "save_file", "savefig", "save_pretrained", "save_for_hf",
    "dump", "tofile", "copy", "copy2", "copyfile", "copytree", "move", "extractall", "writelines", "memmap",
    "open_memmap", "to_csv", "imsave",
}  # fmt: skip
# Where a file is written otherwise, and why that is right.
OTHERWISE = {
    "kept_views.py": {"_numbers"},  # a file without a name, gone with its process
    "archives.py": {"_locked", "_unpack_tar"},  # an empty file that is locked; a folder aside, which is renamed
    "downloads.py": {"_receive"},  # beside the file's place, which it takes when its digest is right
    "draw.py": {"_save"},  # into memory; then, whole or not at all, to disk
    "folder.py": {"append_lines"},  # a journal: a line that was cut short is dropped
    "store.py": {
        "_partial_store",  # the lock and the settings of the folder in which a store grows
        "_write_images",  # inside that folder, resumed where it stopped
    },
    "tracking.py": {"__init__"},  # a new file, which TensorBoard reads while it grows
}


SAFE = ("atomic_file(", "atomic_directory(", "sealed_directory(", "_partial_store(")


def writing(call: ast.Call) -> bool:
    """Whether a call writes a file, by its name and mode; functions of `dpmix.files` are called without a dot."""
    if isinstance(call.func, ast.Name):
        return call.func.id in WRITES - {"write_text", "copy"} or (call.func.id == "open" and writes(call, 1))
    if not isinstance(call.func, ast.Attribute):
        return False
    name, receiver = call.func.attr, ast.unparse(call.func.value)
    if name == "open":
        return writes(call, 0)
    if name == "save":
        return receiver in ("np", "torch", "image", "numpy")
    return name in WRITES and not (name == "copy" and receiver != "shutil") and receiver != "resource"


def writes(call: ast.Call, place: int) -> bool:
    mode = (
        call.args[place] if len(call.args) > place else next((k.value for k in call.keywords if k.arg == "mode"), None)
    )
    said = [part.value for part in ast.walk(mode) if isinstance(part, ast.Constant)] if mode is not None else []
    return any(isinstance(one, str) and set(one) <= set("rwaxbt+") and set(one) & set("wax+") for one in said)


def in_place(tree: ast.AST, function: str = "", safe: bool = False) -> Iterator[tuple[str, int]]:
    """(function, line) of every writing call outside the contexts that keep what is there until all is written."""
    for node in ast.iter_child_nodes(tree):
        inside, within = function, safe
        if isinstance(node, ast.FunctionDef):
            inside, within = node.name, False
        elif isinstance(node, ast.With):
            contexts = [ast.unparse(item.context_expr) for item in node.items]
            within = safe or any(context.startswith(SAFE) for context in contexts)
        if isinstance(node, ast.Call) and not safe and writing(node):
            yield function, node.lineno
        yield from in_place(node, inside, within)


def test_every_writer_of_the_package_writes_beside_and_renames(repository: Path) -> None:
    found: dict[str, set[str]] = {}
    for path in sorted((repository / "dpmix").rglob("*.py")):
        if path.name != "files.py":
            for function, _ in in_place(ast.parse(path.read_text(encoding="utf-8"))):
                found.setdefault(path.name, set()).add(function)
    assert found == OTHERWISE


@pytest.mark.parametrize(
    "line",
    ["path.write_text('x')", "open(path, 'w')", "path.open('ab')", "np.save(path, x)", "save_file(x, path)",
     "figure.savefig(path)", "open(path, mode='x')", "np.savez_compressed(path, x=1)", "shutil.copy(a, b)"],
)  # fmt: skip
def test_one_that_writes_in_place_would_be_found(line: str) -> None:
    assert list(in_place(ast.parse(f"def f():\n    {line}"))) == [("f", 2)]
    assert not list(in_place(ast.parse(f"def f():\n    with atomic_file(path) as temporary:\n        {line}")))
