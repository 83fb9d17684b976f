"""`build`, from a folder of images and nothing else."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.data import EncoderModel, ImageStore, SyntheticSet, SyntheticStore
from dpmix.artefacts.experiment import Experiment, Selection
from dpmix.artefacts.measurements import ZeroShot
from dpmix.artefacts.plan_file import PlanFile
from dpmix.build import build, missing
from dpmix.catalogue.catalogue import Catalogue
from dpmix.errors import DpmixError, ParamsError
from dpmix.execution import Execution
from dpmix.files import read_json, write_text
from dpmix.makers.registry import Context, maker, maker_of
from dpmix.models import small_encoders
from dpmix.params.read import read
from dpmix.privacy.noise import SeededNoise
from dpmix.seals import SOURCE, read_record
from tests.own.drawn import draw

pytestmark = pytest.mark.filterwarnings("ignore")
BATCH, TRAIN = 8, 32


def params() -> dict[str, Any]:
    """One table: a method that mixes D in, its learning rate chosen; below it, zero-shot and without noise."""
    settings = {
        "delta": 1e-3, "accountant": "rdp", "clip_norm": 1, "batch_size": BATCH, "epochs": 2,
        "learning_rate": "tuned", "k_base": 1, "k_diff": 1, "transforms": ["crop"], "padding": 1,
    }  # fmt: skip
    table = {
        "kind": "accuracy", "rows": [{"axis": "Method", "method": ["dp-mix-diff"]}],
        "fixed": {"dataset": "mine", "model": "eye", "epsilon": 8}, "ladder": {"method": "dp-mix-diff"},
    }  # fmt: skip
    scale = {
        "synthetic": "given", "synthetic_size": {"mine": 16}, "seeds": [1, 2], "bundle": {"by": "model"},
        "tuning": {"learning_rates": [1, 8]}, "scratch": settings, "finetune": settings, "figures": {},
        "tables": {"12": table},
    }  # fmt: skip
    return {
        "scale": "demo",
        "datasets": {
            "mine": {"label": "M", "source": "folder", "path": "mine", "classes": 2, "train": TRAIN, "test": 12}
        },
        "models": {
            "eye": {
                "kind": "encoder", "label": "Eye", "architecture": "tiny-vit", "weights": "public", "images": "d",
                "resolution": 16,
            }
        },
        "diffusion": {"given": {"images": "d"}},
        "methods": {"dp-mix-diff": {"label": "DP-Mix_Diff", "k_self": 1}},
        "scales": {"demo": scale},
    }  # fmt: skip


def world(folder: Path) -> None:
    """Private and public images and params, and nothing that was made of them."""
    draw(folder / "mine/train", TRAIN // 2, 1, classes=2, size=(16, 16))
    draw(folder / "mine/test", 6, 2, classes=2, size=(16, 16))
    draw(folder / "d", 8, 3, classes=2, size=(16, 16))
    (folder / "params.yaml").write_text(yaml.safe_dump(params(), allow_unicode=True), encoding="utf-8")


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    world(tmp_path)
    monkeypatch.chdir(tmp_path)
    recipe = dataclasses.replace(small_encoders.RECIPES["tiny-vit"], steps=20, batch=8)
    monkeypatch.setitem(small_encoders.RECIPES, "tiny-vit", recipe)
    return Catalogue(read(Path("params.yaml")))


def private(catalogue: Catalogue) -> list[Experiment]:
    return [run for run in catalogue.of(Experiment) if isinstance(run, Experiment) and run.epsilon == 8]


def on_disk(folder: Path = Path()) -> dict[str, Any]:
    """The bytes of all files that were made; of a run's JSON, all but its times, and no note on the images' files."""
    found: dict[str, Any] = {}
    for path in sorted((*folder.glob("data/**/*"), *folder.glob("results/**/*"))):
        if path.is_file() and path.name != SOURCE:
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
            if path.name == "metrics.json":
                found[path.relative_to(folder).as_posix()] = {**read_record(path), "times": None}
            elif path.parent.name == "stamps":  # digests of files, times and all
                found[path.relative_to(folder).as_posix()] = {name: sorted(of) for name, of in stamp_at(path).items()}
    return found


def stamp_at(path: Path) -> dict[str, dict[str, str]]:
    record = read_record(path)
    return {name: record[name] for name in ("made", "of")}


def test_one_call_makes_a_run_and_all_that_it_is_made_from_and_another_makes_nothing(catalogue: Catalogue) -> None:
    run, _ = private(catalogue)
    made = build(run, scale="demo")
    assert made[-1] == run.path("demo")
    kinds = {type(catalogue.find(path)) for path in made}
    assert kinds == {ImageStore, EncoderModel, SyntheticSet, SyntheticStore, PlanFile, Selection, Experiment}
    assert all(path.is_file() for path in made)
    assert len(set(made)) == len(made)
    assert isinstance(run.learning_rate, Selection)
    chosen = read_json(run.learning_rate.path("demo"))["learning_rate"]
    assert read_json(run.path("demo"))["learning_rate"] == chosen
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}
    assert build(run, scale="demo") == []
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()} == before


def test_what_is_finished_asks_for_nothing(catalogue: Catalogue) -> None:
    run, other = private(catalogue)
    build(run, scale="demo")
    run.images().path("demo").unlink()
    run.plan().path("demo").unlink()
    assert build(run, scale="demo") == []
    # Another run needs them, and its choice of a learning rate is there.
    assert set(build(run, other, scale="demo")) == {
        run.images().path("demo"), run.plan().path("demo"), other.path("demo")
    }  # fmt: skip


class Killed(BaseException):
    """As a signal that nobody handles."""


def test_a_killed_call_goes_on(
    catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = private(catalogue)
    original, often = SeededNoise.add, Execution(checkpoint_seconds=0)
    steps: list[int] = []

    def killed(self: SeededNoise, total: Any, std: Any, *, step: int, name: str) -> Any:
        if self.seed == run.seed and Path(run.learning_rate.path("demo")).exists():  # type: ignore[union-attr]
            steps.append(step)
            if steps[-1] == 5 and steps.count(5) == 1:
                raise Killed
        return original(self, total, std, step=step, name=name)

    monkeypatch.setattr(SeededNoise, "add", killed)
    with pytest.raises(Killed):
        build(run, scale="demo", execution=often)
    assert not run.path("demo").exists()
    assert build(run, scale="demo", execution=often) == [run.path("demo")]
    assert steps == [0, 1, 2, 3, 4, 5, 5, 6, 7]
    assert not list(Path("results/demo/checkpoints").iterdir())
    resumed, folder = on_disk(), tmp_path_factory.mktemp("whole")
    world(folder)
    monkeypatch.chdir(folder)
    build(run, scale="demo")
    assert resumed == on_disk()


def test_inputs_come_first_and_runs_of_one_stream_together(catalogue: Catalogue) -> None:
    tuned, other = private(catalogue)
    given = tuned.model_copy(update={"learning_rate": 1.0, "epsilon": 4.0})
    assert given.stream() == tuned.stream()
    levels = missing([given, tuned, other], "demo")
    assert levels[-1] == [given, tuned, other]
    place = {artefact.path("demo"): number for number, level in enumerate(levels) for artefact in level}
    assert len(place) == sum(map(len, levels))
    for level in levels:
        for artefact in level:
            assert all(place[source.path("demo")] < place[artefact.path("demo")] for source in artefact.inputs())


class Note(Artefact):
    """A kind that the pipeline does not have: how many classes a data set has."""

    folder: ClassVar[str] = "notes"
    store: ImageStore

    def inputs(self) -> list[Artefact]:
        return [self.store]

    def path(self, scale: str) -> Path:
        return Path("results", scale, self.folder, f"{self.hash}.txt")


class Remark(Note):
    """Another, which nobody registers."""


class Rumour(Note):
    """And one whose maker forgets to write it."""


@maker(Note)
def write_notes(notes: Sequence[Note], context: Context) -> None:
    for note in notes:
        meta = read_json(note.store.path(context.scale))
        write_text(note.path(context.scale), f"{len(meta['classes'])} on {context.execution.physical_batch}")


@maker(Rumour)
def write_rumours(rumours: Sequence[Rumour], context: Context) -> None:
    assert rumours


def test_every_kind_of_the_pipeline_has_a_maker() -> None:
    kinds = [kind for kind in Artefact.__subclasses__() if kind.__module__.startswith("dpmix.")]
    assert len(kinds) >= 11
    assert all(callable(maker_of(kind).make) for kind in kinds)


def test_a_kind_is_added_by_a_class_and_a_maker(catalogue: Catalogue) -> None:
    (store,) = catalogue.of(ImageStore)
    note = Note(store=store)  # type: ignore[arg-type]
    assert build(note, scale="demo", execution=Execution(physical_batch=7)) == [store.path("demo"), note.path("demo")]
    assert note.path("demo").read_text() == "2 on 7"


def test_a_kind_that_nothing_makes_is_one_line_before_anything_is_made(catalogue: Catalogue) -> None:
    (store,) = catalogue.of(ImageStore)
    with pytest.raises(ParamsError, match=r"^nothing makes a Remark; register its maker with @dpmix\S+$"):
        build(Remark(store=store), scale="demo")  # type: ignore[arg-type]
    assert on_disk() == {}


def test_a_scale_that_would_leave_the_results_is_one_line_before_anything_is_made(catalogue: Catalogue) -> None:
    with pytest.raises(ParamsError, match=r"^scale '\.\./try': a name has letters, digits and .*; choose another$"):
        build(catalogue.of(ImageStore)[0], scale="../try")
    assert on_disk() == {}


def test_a_maker_that_does_not_write_is_one_line(catalogue: Catalogue) -> None:
    (store,) = catalogue.of(ImageStore)
    with pytest.raises(DpmixError, match=r"^write_rumours did not write results/demo/notes/\w+\.txt; mend that maker$"):
        build(Rumour(store=store), scale="demo")  # type: ignore[arg-type]


def test_what_is_made_is_said(catalogue: Catalogue, capsys: pytest.CaptureFixture[str]) -> None:
    (store,) = catalogue.of(ImageStore)
    note = Note(store=store)  # type: ignore[arg-type]
    build(note, scale="demo")
    assert f"[1/2] {store.path('demo')}\n" in capsys.readouterr().err
    note.path("demo").unlink()
    build(note, scale="demo", quiet=True)
    assert capsys.readouterr().err == ""


CHILD = """
import dataclasses, json, os
from pathlib import Path
from dpmix.build import build
from dpmix.catalogue.catalogue import Catalogue
from dpmix.demo import encoder
from dpmix.execution import Execution
from dpmix.params.read import read

encoder.RECIPES["tiny-vit"] = dataclasses.replace(encoder.RECIPES["tiny-vit"], steps=20, batch=8)
catalogue = Catalogue(read(Path("params.yaml")))
made = build(*catalogue.targets["table12"], scale="demo", execution=Execution(device="cpu"))
Path(os.environ["RANK"]).write_text(json.dumps([path.as_posix() for path in made]))
"""


def test_processes_share_the_runs_and_the_first_makes_the_rest(catalogue: Catalogue, repository: Path) -> None:
    Path("child.py").write_text(CHILD)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "child.py"],
        env={**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(Path(rank).read_text()) for rank in "01")
    assert set(first) == set(catalogue.artefacts)
    assert set(second) <= set(first)
    assert build(*catalogue.targets["table12"], scale="demo") == []
    for run in private(catalogue):
        assert read_json(run.path("demo"))["steps"] == {"planned": 8, "executed": 8}


@pytest.mark.parametrize(
    ("wanted", "execution", "words"),
    [
        ("table3", Execution(), "'table3' is no artefact; give build"),
        ([ZeroShot], Execution(), "is no artefact; give build"),
        (None, "cpu", r"'cpu' is no Execution; give Execution\(device='cpu'\)"),
    ],
)
def test_what_is_no_artefact_or_execution_is_named(wanted: Any, execution: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=words) as caught:
        build(*([] if wanted is None else [wanted]), scale="demo", execution=execution)
    assert "\n" not in str(caught.value)
