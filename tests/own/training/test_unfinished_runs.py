"""Runs that were stopped, killed or ran out of disk: they go on, or say in one line why not; none is forgotten."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from dpmix.cli import main
from dpmix.errors import DataError, DpmixError, ParamsError, PrivacyError
from dpmix.files import read_json
from dpmix.own.model import model_folder
from dpmix.own.training import spent
from dpmix.own.training.train import train
from dpmix.own.training.work_folder import entered
from dpmix.privacy.accounting import Steps, composed_epsilons
from dpmix.release.statement import read_statement
from dpmix.seals import save_tensors
from dpmix.training import embedded_views
from tests.needs import LINUX, needs
from tests.own.drawn import draw
from tests.own.training import kills
from tests.own.training.test_spent import a_run

pytestmark = pytest.mark.filterwarnings("ignore")
LEDGER = Path("my-images.dpmix-spent.json")
WORK = Path("my-images-model.work")


def flags(options: dict[str, Any]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def interrupt_in_step(step: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ctrl-C while the views of this step are made; returns the record's count of steps, seen in every step."""
    seen: list[int] = []
    ledger = LEDGER.absolute()

    def make_views(*arguments: Any) -> Any:
        (run,) = spent.Record(ledger).runs()
        seen.append(run.steps)
        if len(seen) == step + 1:
            raise KeyboardInterrupt
        return original(*arguments)

    original = embedded_views.make_views
    monkeypatch.setattr(embedded_views, "make_views", make_views)
    return seen


@pytest.fixture
def stopped(images: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The work folder of a run that was stopped in its seventh step, with a checkpoint of the sixth."""
    with monkeypatch.context() as patched:
        patched.setattr("dpmix.own.training.train._CHECKPOINT_SECONDS", 0.0)
        interrupt_in_step(6, patched)
        with pytest.raises(KeyboardInterrupt):
            train(images, epsilon=4, **tiny)
    return WORK


def test_ctrl_c_leaves_a_run_that_the_very_command_on_the_screen_resumes(
    images: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dpmix.own.training.train._CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patched:
        seen = interrupt_in_step(9, patched)
        patched.setattr(sys, "argv", ["dpmix", "train", "my-images", "--epsilon", "4", *flags(tiny)])
        with pytest.raises(SystemExit) as caught:
            main()
    assert caught.value.code == 130
    # A step is on record before it is executed.
    assert len(seen) == 10
    assert all(counted >= step + 1 for step, counted in enumerate(seen))
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("stopped; go on with: dpmix train my-images --resume")
    (run,) = spent.Record(LEDGER).runs()
    assert (run.state, 10 <= run.steps < run.planned) == ("running", True)
    assert not Path("my-images-model").exists()

    with pytest.raises(DataError, match=re.escape("go on with it: dpmix train my-images --resume;")):
        train(images, epsilon=4, **tiny)
    with pytest.raises(ParamsError, match=r"epsilon is 4.0, not 8; resume it without `epsilon`, or delete"):
        train(images, epsilon=8, resume=True)
    monkeypatch.setattr(sys, "argv", shlex.split(line.partition(": ")[2]))
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    (run,) = spent.Record(LEDGER).runs()
    # The model is of T steps; the one that was lost has been executed too.
    (row,) = read_statement("my-images-model/model.safetensors").mechanism
    assert row.steps == run.planned
    assert run.state == "finished"
    assert run.planned + 1 <= run.steps <= run.planned + 1 + run.planned // 50
    assert not WORK.exists()


def test_a_run_that_goes_on_is_announced_with_all_that_it_may_have_lost(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = spent.Record(LEDGER)
    (mine,) = record.runs()
    assert stopped.exists()
    assert mine.steps >= 7
    earlier = record.begin(a_run(steps=20, state="finished"))
    capsys.readouterr()
    train("my-images", resume=True)
    (said,) = re.findall(r"together with this one ε = ([\d.]+) at", capsys.readouterr().err)
    rows = [
        Steps(earlier.noise_multiplier, earlier.sampling_rate, earlier.steps),
        Steps(mine.noise_multiplier, mine.sampling_rate, mine.steps + mine.planned),
    ]
    joint = composed_epsilons(rows, delta=mine.delta)["pld"]
    assert joint <= float(said) <= joint + 0.011


def test_a_checkpoint_that_was_edited_to_say_fewer_steps_than_it_has_is_refused(stopped: Path) -> None:
    """It agrees with itself; what was entered when it was kept is more."""
    (path,) = (stopped / "results" / "own" / "checkpoints").iterdir()
    with safe_open(path, framework="pt") as file:
        values = json.loads(file.metadata()["values"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert values["step"] == 6
    save_tensors(path, tensors, {"values": json.dumps({**values, "step": 0, "ledgers": [[]]})})
    with pytest.raises(PrivacyError, match=r"it says 0 steps, and of this run .* has 6 that were kept last") as caught:
        train("my-images", resume=True)
    assert len(str(caught.value).splitlines()) == 1
    assert not Path("my-images-model").exists()
    # As the line says: without it the run begins again, with other weights, and what was executed stays on record.
    assert str(caught.value).endswith("delete it, and the run starts afresh")
    path.unlink()
    train("my-images", resume=True)
    (row,) = read_statement("my-images-model/model.safetensors").mechanism
    (run,) = spent.Record(LEDGER).runs()
    assert row.steps == run.planned
    assert run.steps >= run.planned + 6


@pytest.mark.timeout(900)
@needs(LINUX, hasattr(os, "fork") and hasattr(signal, "SIGKILL"))
def test_runs_that_were_killed_go_on_and_research_gives_the_same_model_up_to_rounding(
    images: Path, tiny: dict[str, Any], repository: Path
) -> None:
    moments = {"whole": "never", "first": "views:0", "tenth": "views:9", "saving": "checkpoint:5"}
    common = {"images": str(images), "epsilon": 4, **tiny}
    runs = [(moment, {**common, "research": True, "seed": 3, "output": name}) for name, moment in moments.items()]
    runs.append(("views:9", {**common, "output": "released"}))
    subprocess.run(
        [sys.executable, kills.__file__, json.dumps(runs)],
        env={**os.environ, "PYTHONPATH": str(repository)},
        check=True,
    )
    weights = {name: dict(np.load(f"{name}.npz")) for name in moments}
    assert np.abs(weights["whole"]["weight"]).max() > 0
    accuracies = {name: read_json(Path(name, "metrics.json"))["accuracy_by_epoch"] for name in moments}
    for name in moments:
        assert weights[name].keys() == weights["whole"].keys()
        for key, values in weights["whole"].items():
            # What is encoded again is so in other company, on which last bits depend.
            np.testing.assert_allclose(weights[name][key], values, rtol=0, atol=1e-5, err_msg=f"{name} {key}")
        assert accuracies[name] == accuracies["whole"]
    record = {run.model: run for run in spent.Record(LEDGER).runs()}
    assert {name: run.state for name, run in record.items()} == {
        **dict.fromkeys(moments, "research"),
        "released": "finished",
    }
    # What was executed and lost is on record.
    assert record["whole"].steps == record["whole"].planned
    assert all(record[name].steps > record[name].planned for name in ("first", "tenth", "saving", "released"))
    (row,) = read_statement("released/model.safetensors").mechanism
    assert row.steps == record["released"].planned
    assert list(Path().glob("*.work")) == []


def fill(disk: Path) -> Path:
    """A file that takes all that is left of a disk."""
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    return disk / "filler"


def test_a_disk_that_is_really_full_leaves_no_model_and_a_run_that_goes_on(
    images: Path, tiny: dict[str, Any], small_disk: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is full in the fourth step, and again when all but the model's folder is written."""
    disk = small_disk("32m")
    monkeypatch.setattr("dpmix.own.training.train._CHECKPOINT_SECONDS", 0.0)
    make_views, write, steps = embedded_views.make_views, model_folder.write, []

    def fills_in_a_step(*arguments: Any) -> Any:
        steps.append(1)
        if len(steps) == 4:
            fill(disk)
        return make_views(*arguments)

    def fills_at_last(*arguments: Any, **options: Any) -> Any:
        fill(disk)
        return write(*arguments, **options)

    for attempt, (place, name, fills) in enumerate(
        [(embedded_views, "make_views", fills_in_a_step), (model_folder, "write", fills_at_last)]
    ):
        with monkeypatch.context() as patched:
            patched.setattr(place, name, fills)
            with pytest.raises(DpmixError, match=r"^cannot write .*: No space left on device; free space") as caught:
                train(images, output=disk / "m", **({"resume": True} if attempt else {"epsilon": 4, **tiny}))
        assert len(str(caught.value).splitlines()) == 1
        assert {path.name for path in disk.iterdir()} == {"filler", "m.work"}
        (disk / "filler").unlink()
    (before,) = spent.Record(LEDGER).runs()
    assert (before.state, before.steps >= before.planned) == ("finished", True)
    made = train(images, output=disk / "m", resume=True)
    (after,) = spent.Record(LEDGER).runs()
    assert after == before
    model_folder.read(made).check()
    assert [path.name for path in disk.iterdir()] == ["m"]


def test_what_is_kept_with_an_unfinished_run_is_for_its_owner_alone(stopped: Path) -> None:
    assert stopped.stat().st_mode & 0o777 == 0o700
    assert read_json(stopped / "request.json")["epsilon"] == 4


def test_what_is_damaged_in_the_work_folder_is_one_line_and_what_is_whole_goes_on(stopped: Path) -> None:
    images = Path("my-images")
    shutil.copytree(stopped, "kept")
    (before,) = spent.Record(LEDGER).runs()
    (plan_file,) = (path for path in stopped.rglob("*.json") if "noise_multiplier" in path.read_text(encoding="utf-8"))
    (checkpoint,) = (path for path in stopped.rglob("*") if path.is_file() and "checkpoints" in path.parts)
    louder, more = read_json(plan_file), read_json(stopped / "request.json")
    louder["noise_multiplier"] = louder["noise_multiplier"] / 10
    more["epsilon"] = 8.0
    damages = {
        plan_file: [json.dumps(louder).encode(), b"{", b"[]"],
        checkpoint: [b"", checkpoint.read_bytes()[:200], b"no checkpoint"],
        stopped / "request.json": [json.dumps(more).encode(), b"{", b"{}", b"[]"],
        stopped / "run.json": [b"{", b'{"key": 5, "seed": "x"}'],
        stopped / "manifest.csv": [b"", b"# {}\n", b"no manifest"],
    }
    said = []
    for path, contents in damages.items():
        for content in contents:
            shutil.rmtree(stopped)
            shutil.copytree("kept", stopped)
            path.write_bytes(content)
            with pytest.raises(DpmixError) as caught:
                train(images, resume=True)
            said.append(str(caught.value))
            assert len(said[-1].splitlines()) == 1, (path, content)
            assert not Path("my-images-model").exists()
    assert "was damaged or changed after it was written" in said[0]
    assert sum("on record with another plan than it has now" in line for line in said) == 1
    (after,) = spent.Record(LEDGER).runs()
    assert after.steps >= before.steps
    # The images were decoded before: others make no difference to a run that goes on.
    shutil.rmtree(stopped)
    Path("kept").rename(stopped)
    (images / "bile" / "0.png").unlink()
    (images / "blood" / "1.png").write_bytes(b"changed")
    draw(Path("more"), 1)
    Path("more", "water", "0.png").rename(images / "water" / "new.png")
    made = train(images, resume=True)
    assert read_statement(made / "model.safetensors").population == before.population


def test_a_run_that_other_code_has_begun_waits_for_that_code(
    stopped: Path, images: Path, tmp_path: Path, repository: Path
) -> None:
    (before,) = spent.Record(LEDGER).runs()
    changed = tmp_path / "changed" / "dpmix"
    shutil.copytree(repository / "dpmix", changed, ignore=shutil.ignore_patterns("__pycache__"))
    with (changed / "views" / "mixing.py").open("a", encoding="utf-8") as file:
        file.write("\nOTHER = 1\n")
    run = subprocess.run(
        [sys.executable, "-m", "dpmix", "train", str(images), "--resume"],
        env={**os.environ, "PYTHONPATH": str(changed.parent)}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode != 0
    line = run.stderr.splitlines()[-1]
    assert line.startswith("error: code or settings of the unfinished run in")
    assert "my-images-model.work have changed since it began; put back dpmix" in line
    # Nothing was spent or lost; by the code of before it goes on from its checkpoint.
    assert spent.Record(LEDGER).runs() == (before,)
    train(images, resume=True)
    (after,) = spent.Record(LEDGER).runs()
    assert (after.key, after.state) == (before.key, "finished")
    assert after.steps < before.steps + after.planned


def test_another_process_does_not_remove_the_folder_of_a_run(images: Path, tiny: dict[str, Any]) -> None:
    with entered(Path.cwd() / WORK):
        Path("request.json").touch()
        os.chdir("..")
        with pytest.raises(DataError, match="another process is training in"):
            train(images, epsilon=4, **tiny)
        assert (WORK / "request.json").exists()
