"""The command line: what it offers, and that whatever goes wrong is one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dpmix.artefacts.data import ImageStore
from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.measurements import Distance
from dpmix.artefacts.plan_file import PlanFile
from dpmix.catalogue.catalogue import Catalogue
from dpmix.cli import main
from dpmix.cli.app import app
from dpmix.errors import DpmixError
from dpmix.params.read import read
from dpmix.privacy.plan import Plan
from dpmix.seals import read_record

STEPS = ("images", "encoder", "diffusion", "synthetic", "synthetic-images", "plans", "train", "distances", "table",
         "figure", "report")  # fmt: skip


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "dpmix", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The one line with which a command ends, run in this process."""
    monkeypatch.setattr(sys, "argv", ["dpmix", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    line = str(caught.value.code)
    assert line.startswith("error: ")
    assert len(line.splitlines()) == 1
    return line.removeprefix("error: ")


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> Path:
    """A working directory with the project's parameters alone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((repository / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def catalogue(repository: Path) -> Catalogue:
    return Catalogue(read(repository / "params.yaml"), "demo")


def test_help_lists_every_command() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    for command in ("account", "check", "step"):
        assert command in shown.output
    steps = CliRunner().invoke(app, ["step", "--help"], env={"COLUMNS": "200"})
    assert all(step in steps.output for step in STEPS)


def test_check_says_what_each_scale_asks_for(clone: Path, catalogue: Catalogue, repository: Path) -> None:
    shown = run("check", folder=clone)
    assert (shown.returncode, shown.stderr) == (0, "")
    demo, paper = shown.stdout.splitlines()
    assert demo.startswith(f"demo (chosen): {len(catalogue.tables)} tables, {len(catalogue.of(Experiment))} runs, ")
    assert paper.startswith(f"paper: {len(read(repository / 'params.yaml').scales['paper'].tables)} tables, ")
    release = run("check", "--params", str(repository / "docs" / "own-images" / "params.yaml"), folder=clone)
    assert release.stdout.splitlines()[1] == "release: 1 table, 1 run, 0 learning rates to choose, 0 distances"


def test_an_error_is_one_line_and_status_1(tmp_path: Path) -> None:
    for arguments, words in (
        (["check"], "params.yaml does not exist; run from the repository's root or pass --params"),
        (["step", "table", "9"], "params.yaml does not exist; run from the repository's root or pass --params"),
    ):
        shown = run(*arguments, folder=tmp_path)
        assert (shown.returncode, shown.stdout) == (1, "")
        assert shown.stderr == f"error: {words}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words", "command"),
    [
        ("plann", "no such command 'plann'. Did you mean 'plan'?", ""),
        ("step trian x", "no such command 'trian'. Did you mean 'train'?", " step"),
        ("plan --scal paper", "no such option: --scal", " plan"),
        ("account --n 5 --epochs 1", "missing option '--batch'", " account"),
        ("step train", "missing argument", " step train"),
        ("step train x --threads 0", "invalid value for '--threads'", " step train"),
        ("account --n", "option '--n' requires an argument", ""),
    ],
)
def test_a_command_line_that_cannot_be_understood_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str, words: str, command: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["dpmix", *arguments.split()])
    with pytest.raises(SystemExit) as caught:
        main()
    shown = capsys.readouterr()
    assert (caught.value.code, shown.out) == (2, "")
    assert shown.err.startswith(f"error: {words}")
    assert shown.err.endswith(f"dpmix{command} --help says what there is\n")
    assert shown.err.count("\n") == 1


def test_near_options_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["dpmix", "plan", "--scal", "paper"])
    with pytest.raises(SystemExit):
        main()
    assert "--scale" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["step"]])
def test_a_group_of_commands_by_itself_shows_what_there_is(tmp_path: Path, arguments: list[str]) -> None:
    shown = run(*arguments, folder=tmp_path)
    assert shown.returncode == 2
    assert "Usage:" in shown.stdout + shown.stderr
    assert "error" not in shown.stderr


def test_help_is_no_error_and_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dpmix.params.read.read", lambda path: interrupted())
    for arguments, status in ((["--help"], 0), (["check"], 130)):
        monkeypatch.setattr(sys, "argv", ["dpmix", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        assert (caught.value.code or 0) == status


@pytest.mark.parametrize("file", ["params.yaml", "own.yaml", "deep/params.yaml"])
@pytest.mark.parametrize(
    ("arguments", "change", "words"),
    [
        ("check", "epsilom: 8", "{}: scales.demo.tables.1.fixed.epsilom: unknown key; did you mean 'epsilon'?"),
        ("plan table99", "epsilon: 8", "{}: unknown target 'table99'; did you mean 'table9'?"),
        ("step table 99", "epsilon: 8", "{}: unknown table '99'; did you mean '9'?"),
        (
            "step plans x.json",
            "epsilon: 8",
            "nothing in {} at scale demo asks for x.json; was it changed since, or dpmix's code?",
        ),
        ("check", "epsilon: 8, batch_size: 9999", "{}: table 1, DP-SGD / Microbatch Size = 1: digits, tiny-wrn,"),
    ],
)
def test_errors_name_the_file_that_was_given(
    clone: Path, monkeypatch: pytest.MonkeyPatch, file: str, arguments: str, change: str, words: str
) -> None:
    text = (clone / "params.yaml").read_text(encoding="utf-8")
    place = "fixed: { dataset: digits, model: tiny-wrn, epsilon: 8 }"
    assert place in text
    (clone / file).parent.mkdir(exist_ok=True)
    (clone / file).write_text(text.replace(place, place.replace("epsilon: 8", change), 1), encoding="utf-8")
    assert refused([*arguments.split(), "--params", file], monkeypatch).startswith(words.format(file))


@pytest.mark.parametrize("step", ["images", "encoder", "diffusion", "synthetic", "synthetic-images"])
def test_a_path_that_nothing_asks_for_is_refused(clone: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    words = "nothing in params.yaml at scale demo asks for data/x.json; was it changed since, or dpmix's code?"
    assert refused(["step", step, "data/x.json"], monkeypatch) == words
    assert not (clone / "data").exists()


@pytest.mark.parametrize(
    ("step", "makes"),
    [
        ("plans", "PlanFile, PublishedPrivacy"),
        ("train", "Experiment, Selection, GradientRecord"),
        ("distances", "Distance"),
    ],
)
def test_a_path_that_the_step_does_not_make_is_refused(
    clone: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, step: str, makes: str
) -> None:
    store = catalogue.of(ImageStore)[0].path("demo").as_posix()
    line = refused(["step", step, store], monkeypatch)
    assert line == f"{store} is of kind ImageStore, and this step makes {makes}; see dpmix step --help"
    assert sorted(path.name for path in clone.iterdir()) == ["params.yaml"]


def test_paths_belong_to_a_scale(clone: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = catalogue.of(PlanFile)[0].path("demo").as_posix()
    line = refused(["step", "plans", plan, "--scale", "paper"], monkeypatch)
    assert line.startswith(f"nothing in params.yaml at scale paper asks for {plan}")
    assert refused(["step", "plans", plan, "--scale", "papper"], monkeypatch).endswith("did you mean 'paper'?")


def test_what_is_not_there_yet_is_named(clone: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    run_path = catalogue.of(Experiment)[0].path("demo").as_posix()
    assert "run the step that makes it" in refused(["step", "train", run_path], monkeypatch)
    distance = catalogue.of(Distance)[0].path("demo").as_posix()
    assert "run the step that makes it" in refused(["step", "distances", distance], monkeypatch)
    assert "does not exist; run the step that makes it" in refused(["step", "table", "9"], monkeypatch)
    assert "results/demo does not exist; make the tables first" in refused(["step", "report"], monkeypatch)


@pytest.mark.parametrize(("noun", "number"), [("table", "14"), ("table", "0"), ("figure", "3")])
def test_there_are_thirteen_tables_and_two_figures(
    clone: Path, monkeypatch: pytest.MonkeyPatch, noun: str, number: str
) -> None:
    assert refused(["step", noun, number], monkeypatch).startswith(f"params.yaml: unknown {noun} '{number}'; ")


def test_a_plan_is_calibrated_to_its_path(clone: Path, catalogue: Catalogue) -> None:
    plans = [one for one in catalogue.of(PlanFile) if isinstance(one, PlanFile)]
    spec = min(plans, key=lambda one: one.epochs * one.population / one.batch_size)
    shown = CliRunner().invoke(app, ["step", "plans", spec.path("demo").as_posix()])
    assert shown.exit_code == 0, shown.output
    plan = read_record(clone / spec.path("demo"))
    assert (plan["population"], plan["batch_size"], plan["target_epsilon"]) == (
        spec.population,
        spec.batch_size,
        spec.epsilon,
    )
    assert Plan.from_json(plan).epsilons()[spec.accountant] <= spec.epsilon


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dpmix.cli.app.app", full)
    assert refused([], monkeypatch) == "the disk is full; free some space and run the same command again"


def test_any_error_of_the_project_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise DpmixError("what and\n  how to mend it\n")

    monkeypatch.setattr("dpmix.cli.app.app", broken)
    assert refused([], monkeypatch) == "what and how to mend it"
