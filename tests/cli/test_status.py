"""`dpmix status`: what is shown, how long it takes, and that nothing is changed."""

import fcntl
import os
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dpmix.artefacts.plan_file import PlanFile
from dpmix.catalogue.jobs import jobs
from dpmix.cli.app import app
from tests.status.conftest import lay
from tests.workflow.test_workflow import environment


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["status", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_a_scale_half_made_and_a_job_that_failed(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = lay(tmp_path, repository, "table12")
    (job,) = jobs(catalogue, PlanFile, missing_only=False)
    log = tmp_path / "logs" / "plans" / f"{job.name}.log"
    log.parent.mkdir(parents=True)
    log.write_text("calibrating\nerror: ε is out of reach; take a larger one\n", encoding="utf-8")
    (log.parent / "plan-0.log").write_text("error: of params that are no more; mend it\n", encoding="utf-8")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    monkeypatch.chdir(tmp_path)
    lines = shown().splitlines()
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert lines[0] == "Scale demo: 4 of 7 files of data, models and results, and 1 of 2 tables and figures."
    cells = [line.split() for line in lines[2:7]]
    assert cells == [
        ["runs", "done", "running", "failed", "missing", "shown"],
        ["table2", "4", "2", "0", "0", "2", "none"],
        ["table12", "2", "2", "0", "0", "0", "made"],
        ["prepared", "3", "2", "0", "1", "0"],
        ["together", "7", "4", "0", "1", "2"],
    ]
    assert lines[lines.index("Failed, the last first:") :] == [
        "Failed, the last first:",
        f"  logs/plans/{log.name}",
        "    error: ε is out of reach; take a larger one",
        "",
        "Nothing is running here.",
        "Time left: unknown until some jobs have finished.",
        "Go on: snakemake --cores all table2",
    ]


def test_everything_is_done(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, repository, "table2", "table12")
    monkeypatch.chdir(tmp_path)
    assert shown().splitlines()[-1] == "Nothing is running here, and all is done."


def test_the_papers_scale_takes_seconds(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    started = os.times()
    text = shown("--scale", "paper")
    ended = os.times()
    assert "table_released" in text
    # Of the processor, which others may use at the same time.
    assert ended.user + ended.system - started.user - started.system < 5


def test_a_name_that_is_no_text_is_shown_with_escapes(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the locale's encoding is strict, as UTF-8 is in most."""
    name = os.fsdecode(b"caf\xe9.yaml")
    shutil.copy(repository / "params.yaml", tmp_path / name)
    run = subprocess.run(
        [sys.executable, "-m", "dpmix", "status", "--params", name], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": str(repository)},
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    assert "--configfile 'caf\\udce9.yaml'" in run.stdout


def on_a_terminal(folder: Path, repository: Path, columns: int) -> list[str]:
    """What `dpmix status` shows in a terminal of so many columns."""
    main, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    # A variable of that name would be taken for the terminal's width.
    surroundings = {name: value for name, value in environment(repository).items() if name != "COLUMNS"}
    subprocess.run([sys.executable, "-m", "dpmix", "status"], cwd=folder, env=surroundings, stdout=terminal, check=True)
    os.close(terminal)
    with open(main, "rb", buffering=0) as read:
        said = read.read(65_536) or b""
    return said.decode().replace("\r\n", "\n").splitlines()


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_no_line_but_a_command_is_longer_than_the_terminal_is_wide(
    tmp_path: Path, repository: Path, columns: int
) -> None:
    lay(tmp_path, repository, "table12")
    lines = on_a_terminal(tmp_path, repository, columns)
    assert max(len(line) for line in lines if not line.startswith("Go on: ")) <= columns
    header = next(line.split() for line in lines if line.lstrip().startswith("runs"))
    everything = ["runs", "done", "running", "failed", "missing", "shown"]
    assert header == ([one for one in everything if one not in ("running", "failed")] if columns == 40 else everything)
    assert "Go on: snakemake --cores all table2" in lines
    assert " ".join(lines).count("and 1 of 2 tables and figures.") == 1
