"""`status.failures`: the line that says why, in logs of every kind."""

from pathlib import Path

import pytest

from dpmix.status.failures import last_error, logged, reported
from dpmix.status.records import Call

TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\nRuntimeError: no such thing\n'
BLOCK = """\
[Thu Nov 26 20:44:19 2026]
Error in rule run-eye-1:
    jobid: 3
    input: data/a, data/b
    output: results/demo/runs/a, results/demo/runs/b
    log: logs/train/run-eye-1.log, {root}/logs/slurm/17.log (check log file(s) for error details)
    shell:
        python -m dpmix step train
        (command exited with non-zero exit code)
    external_jobid: 17

Shutting down, this might take some time.
"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("error: the disk is full; free some\n", "error: the disk is full; free some"),
        ("error: one; do\nerror: two; do\nmore\n", "error: two; do"),
        ("training  10%\rtraining  20%\rerror: stopped; go on\n", "error: stopped; go on"),
        (TRACEBACK, "RuntimeError: no such thing"),
        (TRACEBACK + "error: last; mend it\n", "error: last; mend it"),
        ("slurmstepd: error: *** JOB 17 ON a CANCELLED DUE TO TIME LIMIT ***\n",
         "slurmstepd: error: *** JOB 17 ON a CANCELLED DUE TO TIME LIMIT ***"),
        ("training 100%\n", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_last_error_of_a_log(text: str, line: str | None, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("x\n" * 9000 + text, encoding="utf-8")
    assert last_error(tmp_path / "a.log") == line


def test_a_log_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert last_error(tmp_path / "a.log") is None


def test_snakemakes_account_of_a_job_leads_to_its_logs(tmp_path: Path) -> None:
    """Slurm's log, where the job itself could say nothing; and no log at all."""
    call = Call(tmp_path / "call.log", BLOCK.format(root=tmp_path))
    (silent,) = reported(tmp_path, [call])
    assert silent.outputs == ("results/demo/runs/a", "results/demo/runs/b")
    assert silent.line == "it ended without a message; it was killed, or memory ran out"
    assert silent.log == call.log
    slurm = tmp_path / "logs" / "slurm" / "17.log"
    slurm.parent.mkdir(parents=True)
    slurm.write_text("slurmstepd: error: Detected 1 oom-kill event\n", encoding="utf-8")
    (told,) = reported(tmp_path, [call])
    assert (told.line, told.log) == ("slurmstepd: error: Detected 1 oom-kill event", slurm)
    own = tmp_path / "logs" / "train" / "run-eye-1.log"
    own.parent.mkdir()
    own.write_text("error: bad image; mend it\n", encoding="utf-8")
    (told,) = reported(tmp_path, [call])
    assert (told.line, told.log) == ("error: bad image; mend it", own)


def test_a_jobs_own_log_is_known_by_its_name(tmp_path: Path) -> None:
    logs = tmp_path / "logs" / "train"
    logs.mkdir(parents=True)
    for name in ("run-a", "run-b", "other"):
        (logs / f"{name}.log").write_text("" if name == "run-b" else f"error: {name}; mend it\n", encoding="utf-8")
    found = logged(tmp_path, lambda: {"run-a": ("a", "b"), "run-b": ("c",)})
    assert [(one.outputs, one.line) for one in found] == [(("a", "b"), "error: run-a; mend it")]
