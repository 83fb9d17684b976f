"""`train`: what is written, shown and recorded, and that a run which was stopped goes on."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from dpmix.cli import main
from dpmix.data.listing import read_listing
from dpmix.errors import DataError, DpmixError, ParamsError
from dpmix.files import read_json
from dpmix.own import spent
from dpmix.own.plan import plan
from dpmix.own.train import train
from dpmix.own.work_folder import entered
from dpmix.privacy.accounting import Steps, composed_epsilons, rounded_up
from dpmix.release.statement import read_statement
from dpmix.training import heads
from tests.needs import LINUX, needs
from tests.own.images import QUICK, draw

pytestmark = pytest.mark.filterwarnings("ignore")
LEDGER = Path("my-images.dpmix-spent.json")
# What has no noise, in the words of any progress that this program shows.
PRIVATE = re.compile(r"accura|loss|clipped|correct|%|gradient|sampled \d", flags=re.IGNORECASE)


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

    original = heads.make_views
    monkeypatch.setattr(heads, "make_views", make_views)
    return seen


def said(folder: Path) -> dict[str, str]:
    with safe_open(folder / "model.safetensors", framework="np") as file:
        return dict(file.metadata())


def test_a_model_is_made_and_its_statement_is_of_the_steps_on_record(
    images: Path, quick: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    made = train(images, epsilon=4, **quick)
    assert made == Path("my-images-model")
    (run,) = spent.Record(LEDGER).runs()
    (row,) = read_statement(made / "model.safetensors").mechanism
    assert (run.state, run.unit, run.steps) == ("finished", "image", run.planned)
    assert row.steps == run.steps > 20
    # By an accountant, from the record alone.
    again = composed_epsilons([Steps(run.noise_multiplier, run.sampling_rate, run.steps)], delta=run.delta)
    stated = read_statement(made / "model.safetensors").epsilons
    assert stated == pytest.approx(again, abs=2e-6)
    assert 3.9 < stated["pld"] <= 4
    # Nothing else is left: no decoded image, no accuracy.
    assert sorted(path.name for path in Path().iterdir()) == ["my-images", "my-images-model", LEDGER.name]
    assert {path.name for path in made.iterdir()} == {
        "README.md", "config.json", "encoder", "model.safetensors", "privacy.json",
    }  # fmt: skip
    assert read_json(made / "privacy.json")["evaluation"] is None
    assert "accuracy" not in (made / "config.json").read_text(encoding="utf-8")
    shown = "".join(capsys.readouterr())
    assert "training images" in shown
    assert PRIVATE.findall(shown.replace("training tiny-vit", "")) == []


def test_sample_and_noise_are_new_each_time_and_what_is_spent_adds_up(
    images: Path, quick: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    first = train(images, epsilon=4, **quick)
    capsys.readouterr()
    # By another door to the same images.
    lines = [f"{path.relative_to(images)},{path.parent.name}" for path in sorted(images.rglob("*.png"))]
    (images / "labels.csv").write_text("\n".join(["file_name,label", *lines]), encoding="utf-8")
    second = train(images / "labels.csv", epsilon=2, output="other", **quick)
    assert [path.name for path in Path().rglob("*.dpmix-spent.json")] == [LEDGER.name]
    rows = [row for folder in (first, second) for row in read_statement(folder / "model.safetensors").mechanism]
    joint = composed_epsilons(rows, delta=1e-5)["pld"]
    told = capsys.readouterr().err
    before, after = re.findall(r"ε = ([\d.]+) at", told)
    assert "spent so far on these images" in told
    assert float(before) == pytest.approx(4, abs=0.05)
    assert float(after) == pytest.approx(joint, abs=0.011)
    assert 4 < joint < 6
    assert read_json(second / "privacy.json")["together"]["models"] == 2
    assert read_json(second / "privacy.json")["together"]["epsilon"] == pytest.approx(joint, abs=1e-3)
    assert (first / "model.safetensors").read_bytes() != (second / "model.safetensors").read_bytes()


def test_of_two_runs_at_once_each_accounts_for_the_other(
    images: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second one begins, and ends, in the sixth step of the first."""
    original, here, steps = heads.make_views, Path.cwd(), []

    def make_views(*arguments: Any) -> Any:
        steps.append(1)
        if len(steps) == 6:
            there = Path.cwd()
            os.chdir(here)
            train(images, epsilon=2, output="second", **quick)
            os.chdir(there)
        return original(*arguments)

    monkeypatch.setattr(heads, "make_views", make_views)
    train(images, epsilon=4, output="first", **quick)
    rows = [row for name in ("first", "second") for row in read_statement(Path(name, "model.safetensors")).mechanism]
    joint = composed_epsilons(rows, delta=1e-5)["pld"]
    for name in ("first", "second"):
        together = read_json(Path(name, "privacy.json"))["together"]
        assert (together["models"], together["epsilon"]) == (2, pytest.approx(joint, abs=1e-3))
    told = capsys.readouterr().err
    # Before the second one begins, all steps of the first are spent.
    assert re.findall(r"ε = ([\d.]+) at", told)[0] == rounded_up(composed_epsilons(rows[:1], delta=1e-5)["pld"], 2)
    assert "1 of them unfinished" in told


def test_ctrl_c_leaves_a_run_that_the_very_command_on_the_screen_resumes(
    images: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dpmix.own.train._CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patched:
        seen = interrupt_in_step(11, patched)
        patched.setattr(sys, "argv", ["dpmix", "train", "my-images", "--epsilon", "4", *flags(quick)])
        with pytest.raises(SystemExit) as caught:
            main()
    assert caught.value.code == 130
    # A step is on record before it is executed.
    assert len(seen) == 12
    assert all(counted >= step + 1 for step, counted in enumerate(seen))
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("stopped; go on with: dpmix train my-images --resume")
    (run,) = spent.Record(LEDGER).runs()
    assert (run.state, 12 <= run.steps < run.planned) == ("running", True)
    assert not Path("my-images-model").exists()

    with pytest.raises(DataError, match=re.escape("go on with it: dpmix train my-images --resume;")):
        train(images, epsilon=4, **quick)
    with pytest.raises(ParamsError, match=r"epsilon is 4.0, not 8; resume it without --epsilon, or delete"):
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
    assert not Path("my-images-model.work").exists()


@pytest.mark.slow
@needs(LINUX, hasattr(signal, "SIGKILL"))
def test_a_killed_run_is_on_record_and_goes_on(images: Path, quick: dict[str, Any], repository: Path) -> None:
    program = (
        "import dataclasses; from dpmix.models import small_encoders as s; from dpmix.own import train as t;"
        "s.RECIPES['tiny-vit'] = dataclasses.replace(s.RECIPES['tiny-vit'], steps=20, batch=16);"
        "t._CHECKPOINT_SECONDS = 0.0;"
        f"t.train('my-images', epsilon=4, **{ {**quick, 'epochs': 60}!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(repository)})
    ends = time.monotonic() + 200
    try:
        while not (LEDGER.exists() and any(run.steps > 40 for run in spent.Record(LEDGER).runs())):
            assert process.poll() is None
            assert time.monotonic() < ends
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    (killed,) = spent.Record(LEDGER).runs()
    assert (killed.state, 40 < killed.steps < killed.planned) == ("running", True)
    train(images, resume=True)
    (run,) = spent.Record(LEDGER).runs()
    (row,) = read_statement("my-images-model/model.safetensors").mechanism
    assert (run.state, row.steps) == ("finished", run.planned)
    assert run.planned <= run.steps <= run.planned + killed.steps


def test_research_shows_accuracies_and_leaves_nothing_to_release(
    images: Path, quick: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    made = train(images, epsilon=4, research=True, **quick)
    assert made == Path("my-images-research")
    assert [path.name for path in made.iterdir()] == ["metrics.json"]
    metrics = read_json(made / "metrics.json")
    told = capsys.readouterr().err
    assert "ε covers nothing of it; the result is not for release" in told
    for number, accuracy in enumerate(metrics["accuracy_by_epoch"], 1):
        assert f"epoch {number}: accuracy {accuracy:.2f} %" in told
    assert [run.state for run in spent.Record(LEDGER).runs()] == ["research"]
    # The same seed is the same run.
    again = train(images, epsilon=4, research=True, output="again", **quick)
    assert read_json(again / "metrics.json")["accuracy_by_epoch"] == metrics["accuracy_by_epoch"]
    assert "2 for research, which no ε covers" in (spent.so_far(spent.Record(LEDGER).runs(), "image") or "")


def test_a_test_accuracy_is_released_with_an_epsilon_of_its_own(images: Path, quick: dict[str, Any]) -> None:
    made = train(images, epsilon=4, evaluate_epsilon=0.5, **quick)
    found = read_json(made / "privacy.json")["evaluation"]
    assert found["epsilon"] == 0.5
    assert 0 <= found["accuracy"] <= 100
    # It is a whole number of test images.
    assert found["accuracy"] * found["images"] / 100 == pytest.approx(
        round(found["accuracy"] * found["images"] / 100), abs=1e-3
    )
    (measured,) = spent.Record(LEDGER).measured()
    assert (measured.epsilon, measured.model, measured.unit) == (0.5, "my-images-model", "image")


def test_public_images_are_mixed_in_and_no_file_says_where_anything_lay(images: Path, quick: dict[str, Any]) -> None:
    draw(Path("public"), 4, seed=9)
    made = train(images, epsilon=4, synthetic="public", k_diff=1, **quick)
    config, privacy = (read_json(made / name) for name in ("config.json", "privacy.json"))
    assert config["method"] == "dp-mix-diff"
    assert [config["settings"][name] for name in ("k_base", "k_self", "k_diff")] == [2, 1, 1]
    assert "12 public images" in " ".join(privacy["public_data"])
    here = str(Path.cwd()).encode()
    files = [path for path in made.rglob("*") if path.is_file()]
    assert [path.name for path in files if here in path.read_bytes()] == []


def test_a_person_is_protected_with_all_their_images(images: Path, quick: dict[str, Any]) -> None:
    people = Path("people")
    for number, path in enumerate(sorted(images.rglob("*.png"))):
        place = people / path.parent.name / f"p{number % 50}" / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    listing = read_listing(people, persons=True)
    made = train(people, epsilon=4, unit="person", evaluate_epsilon=1.0, **quick)
    statement = read_statement(made / "model.safetensors")
    assert (statement.unit, statement.population) == ("person", len(listing.persons("train")))
    assert 3 < statement.epsilons["pld"] <= 4
    record = spent.Record(Path("people.dpmix-spent.json"))
    assert [(run.unit, run.state) for run in record.runs()] == [("person", "finished")]
    assert [one.unit for one in record.measured()] == ["person"]
    assert read_json(made / "privacy.json")["evaluation"]["images"] == len(listing.persons("test"))
    planned = plan(people, epsilon=4, unit="person", **quick)
    assert (planned.population, planned.epsilon_of_several) == (statement.population, {})
    assert planned.together is not None


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"epsilon": None}, ParamsError, "how much ε the model may spend is not given; say it: --epsilon 4"),
        ({"epsilon": -1}, ParamsError, "epsilon should be greater than 0, not -1"),
        ({"epsilon": float("inf")}, ParamsError, "epsilon should be less than or equal to 100"),
        ({"method": "dpmix-self"}, ParamsError, "did you mean 'dp-mix-self'"),
        ({"method": "dp-mix-diff"}, ParamsError, "name a folder of them: --synthetic FOLDER"),
        ({"seed": 3}, ParamsError, "leave out --seed, or add --research"),
        ({"synthetic": "my-images/blood"}, DataError, "is said to be public"),
        ({"output": "my-images/model"}, ParamsError, "would lie among the images"),
        ({"batch_size": 1000}, ParamsError, "batch_size 1000 exceeds the"),
        ({"ledger": "my-images/blood/0.png/spent.json"}, DpmixError, "--ledger FILE"),
        ({"resume": True}, DataError, "holds no unfinished run; leave out --resume"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    options: dict[str, Any], error: type[DpmixError], words: str, images: Path, quick: dict[str, Any]
) -> None:
    with pytest.raises(error, match=re.escape(words)) as caught:
        train(images, **{"epsilon": 4, **quick, **options})
    assert len(str(caught.value).splitlines()) == 1
    assert not Path("my-images-model").exists()
    assert spent.Record(LEDGER).runs() == ()
    assert not Path("my-images-model.work").exists()


def test_a_folder_that_is_there_is_not_overwritten(images: Path, quick: dict[str, Any]) -> None:
    Path("my-images-model").mkdir()
    with pytest.raises(
        DataError, match=r"my-images-model exists and is not overwritten; name another folder: --output"
    ):
        train(images, epsilon=4, **quick)
    assert not LEDGER.exists()
    with pytest.raises(DataError, match=r"no-images does not exist; name the folder"):
        train("no-images", epsilon=4)


def test_what_is_kept_with_an_unfinished_run_is_for_its_owner_alone(
    images: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_in_step(1, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(images, epsilon=4, **quick)
    assert Path("my-images-model.work").stat().st_mode & 0o777 == 0o700
    assert json.loads(Path("my-images-model.work/request.json").read_text(encoding="utf-8"))["epsilon"] == 4
    assert QUICK["epochs"] == 2


def test_a_run_whose_plan_was_changed_does_not_go_on(
    images: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpmix.own.train._CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patched:
        interrupt_in_step(3, patched)
        with pytest.raises(KeyboardInterrupt):
            train(images, epsilon=0.5, **quick)
    path = Path("my-images-model.work/request.json")
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "epsilon": 8.0}), encoding="utf-8")
    with pytest.raises(DataError, match="on record with another plan than it has now"):
        train(images, resume=True)
    assert not Path("my-images-model").exists()
    (run,) = spent.Record(LEDGER).runs()
    assert run.steps > 0


def test_what_is_damaged_in_the_work_folder_is_one_line_and_what_is_whole_goes_on(
    images: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpmix.own.train._CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patched:
        interrupt_in_step(6, patched)
        with pytest.raises(KeyboardInterrupt):
            train(images, epsilon=4, **quick)
    work = Path("my-images-model.work")
    shutil.copytree(work, "kept")
    (before,) = spent.Record(LEDGER).runs()
    (plan_file,) = (path for path in work.rglob("*.json") if "noise_multiplier" in path.read_text(encoding="utf-8"))
    (checkpoint,) = (path for path in work.rglob("*") if path.is_file() and "checkpoints" in path.parts)
    louder = json.loads(plan_file.read_text(encoding="utf-8"))
    louder["noise_multiplier"] = louder["noise_multiplier"] / 10
    damages = {
        plan_file: [json.dumps(louder).encode(), b"{", b"[]"],
        checkpoint: [b"", checkpoint.read_bytes()[:200], b"no checkpoint"],
        work / "request.json": [b"{", b"{}", b"[]"],
        work / "run.json": [b"{", b"{}", b"[]", b'{"key": 5, "seed": "x"}'],
        work / "manifest.csv": [b"", b"# {}\n", b"no manifest"],
    }
    for path, contents in damages.items():
        for content in contents:
            shutil.rmtree(work)
            shutil.copytree("kept", work)
            path.write_bytes(content)
            with pytest.raises(DpmixError) as caught:
                train(images, resume=True)
            assert len(str(caught.value).splitlines()) == 1, (path, content)
            assert not Path("my-images-model").exists()
    (after,) = spent.Record(LEDGER).runs()
    assert after.steps >= before.steps
    # The images were decoded before: others make no difference to a run that goes on.
    shutil.rmtree(work)
    Path("kept").rename(work)
    (images / "bile" / "0.png").unlink()
    (images / "blood" / "1.png").write_bytes(b"changed")
    draw(Path("more"), 1)
    Path("more", "water", "0.png").rename(images / "water" / "new.png")
    made = train(images, resume=True)
    assert read_statement(made / "model.safetensors").population == before.population


def test_another_process_does_not_remove_the_folder_of_a_run(images: Path, quick: dict[str, Any]) -> None:
    with entered(Path.cwd() / "my-images-model.work"):
        Path("request.json").touch()
        os.chdir("..")
        with pytest.raises(DataError, match="another process is training in"):
            train(images, epsilon=4, **quick)
        assert Path("my-images-model.work/request.json").exists()
