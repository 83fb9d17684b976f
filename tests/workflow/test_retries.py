"""What a job asks for when it is tried again, by what Slurm said of the attempts before."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.resources import Resources

from dpmix.workflow import retries

OUT_OF_TIME = "slurmstepd: error: *** JOB 1 ON n1 CANCELLED AT 2026-01-01T12:00:00 DUE TO TIME LIMIT ***\n"
OUT_OF_MEMORY = (
    "slurmstepd: error: Detected 1 oom_kill event in StepId=1.batch. Some of the step tasks have been OOM Killed.\n"
)
CANCELLED = "slurmstepd: error: *** JOB 1 ON n1 CANCELLED AT 2026-01-01T12:00:00 ***\n"


@pytest.fixture(autouse=True)
def fresh() -> None:
    retries._ended.cache_clear()
    retries._say_full.cache_clear()


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Programs that answer as Slurm's do, and no other ones: `slurm(sacct="…", sinfo="…")`."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.delenv("SNAKEMAKE_SLURM_PARTITIONS", raising=False)

    def says(**answers: str) -> None:
        for name, script in answers.items():
            (tools / name).write_text(f"#!{tools}/sh\n{script}\n")
            (tools / name).chmod(0o755)

    return says


class Calls:
    """Of one rule, as Snakemake would ask for its resources, with logs of its failed jobs."""

    def __init__(self, folder: Path) -> None:
        defaults = Resources.parse(["mem_mb=32000 * attempt", "runtime=720 * attempt"], allow_expressions=True)
        self.workflow = SimpleNamespace(
            is_main_process=True,
            resource_settings=SimpleNamespace(default_resources=defaults),
            executor_settings=SimpleNamespace(logdir=Path("logs/slurm"), partition_config=None),
            workdir_init=str(folder),
            async_run=asyncio.run,
        )
        self.folder = folder / "logs" / "slurm" / "rule_run-a"
        self.folder.mkdir(parents=True)

    def fail(self, *logs: str) -> None:
        first = len(list(self.folder.iterdir())) + 98
        for number, words in enumerate(logs, first):
            (self.folder / f"{number}.log").write_text(words)

    def asks(self, attempt: int) -> dict[str, Any]:
        made = retries.resources(self.workflow)
        return {name: one({}, [], attempt, 4, "run-a") for name, one in made.items()}


@pytest.fixture
def calls(tmp_path: Path) -> Calls:
    return Calls(tmp_path)


def asked(minutes: int, megabytes: int) -> dict[str, int]:
    return {"runtime": minutes, "mem_mb": megabytes}


def test_a_first_attempt_asks_for_what_the_profile_says(calls: Calls) -> None:
    assert calls.asks(1) == asked(720, 32_000)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([OUT_OF_TIME], asked(1440, 32_000)),
        ([OUT_OF_MEMORY], asked(720, 64_000)),
        ([CANCELLED], asked(720, 32_000)),
        (["error: no such file\n"], asked(720, 32_000)),
        ([OUT_OF_TIME, OUT_OF_TIME], asked(2160, 32_000)),
        ([OUT_OF_TIME, OUT_OF_MEMORY], asked(1440, 64_000)),
        ([OUT_OF_MEMORY, CANCELLED], asked(720, 64_000)),
        (["slurmstepd: error: Exceeded job memory limit\n"], asked(720, 64_000)),
    ],
)
def test_what_ran_out_grows_by_the_log_alone_and_nothing_else(
    calls: Calls, slurm: Callable[..., None], ends: list[str], expected: dict[str, int]
) -> None:
    """No command of Slurm answers: the log is enough."""
    calls.fail(*ends)
    assert calls.asks(len(ends) + 1) == expected


def test_jobs_of_an_earlier_call_do_not_count(calls: Calls, slurm: Callable[..., None]) -> None:
    calls.fail(OUT_OF_TIME, OUT_OF_TIME, OUT_OF_TIME, OUT_OF_MEMORY)
    assert calls.asks(1) == asked(720, 32_000)
    assert calls.asks(2) == asked(720, 64_000)


@pytest.mark.parametrize(("state", "expected"), [("TIMEOUT", (1440, 32_000)), ("OUT_OF_MEMORY", (720, 64_000))])
@pytest.mark.parametrize("accounts", [True, False])
def test_a_silent_log_is_followed_by_a_question(
    calls: Calls, slurm: Callable[..., None], state: str, expected: tuple[int, int], accounts: bool
) -> None:
    answer = f'case "$*" in *--jobs=98*) echo "{state}|gpu";; esac'
    slurm(sacct=answer if accounts else "exit 1", squeue="exit 1" if accounts else answer)
    calls.fail("nothing that says so\n")
    assert calls.asks(2) == asked(*expected)


def test_no_retry_asks_for_more_than_its_partition_has_and_one_line_says_so(
    calls: Calls, slurm: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    has = (
        'case "$*" in *--partition=gpu*%l*|*%l*--partition=gpu*) echo 1-00:00:00;; *gpu*) echo 48000; echo 40000;; esac'
    )
    slurm(squeue='echo "FAILED|gpu"', sinfo=has)
    calls.fail(OUT_OF_MEMORY, OUT_OF_TIME)
    # 64,000 MB are not there; a day is enough for 1,440 minutes.
    assert calls.asks(3) == asked(1440, 48_000)
    assert calls.asks(3) == asked(1440, 48_000)
    calls.fail(OUT_OF_TIME)
    retries._ended.cache_clear()
    assert calls.asks(4) == asked(1440, 48_000)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "note: run-a ran out of time, and 1440 minutes is all that its partition gives: it goes on from its checkpoint "
        "in as much again"
    ]
    calls.fail(OUT_OF_MEMORY)
    calls.asks(5)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: run-a ran out of memory, and 48000 MB is all that its partition gives: name a")


def test_where_jobs_may_move_the_largest_partition_is_the_limit(
    calls: Calls, slurm: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm(
        squeue='echo "TIMEOUT|short"',
        sinfo='case "$*" in *short*) echo 12:00:00;; *) echo 12:00:00; echo infinite;; esac',
    )
    calls.fail(OUT_OF_TIME)
    assert calls.asks(2)["runtime"] == 720
    monkeypatch.setenv("SNAKEMAKE_SLURM_PARTITIONS", os.devnull)
    assert calls.asks(2)["runtime"] == 1440


def test_what_the_user_asks_for_is_kept(calls: Calls, slurm: Callable[..., None]) -> None:
    calls.workflow.resource_settings.default_resources = Resources.parse(["runtime=60"], allow_expressions=True)
    calls.fail(OUT_OF_TIME)
    assert calls.asks(2) == {"runtime": 60}
    calls.workflow.resource_settings.default_resources = None
    assert calls.asks(2) == {}


def test_without_slurm_attempts_are_counted_as_they_are(calls: Calls) -> None:
    calls.workflow.executor_settings = None
    assert calls.asks(3) == asked(2160, 96_000)


def test_the_snakemake_within_a_job_asks_for_nothing(calls: Calls) -> None:
    calls.workflow.is_main_process = False
    assert calls.asks(2) == {}
