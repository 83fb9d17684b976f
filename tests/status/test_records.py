"""`status.records`: Snakemake's files, as its own class writes them and as its calls leave them."""

import os
import time
from pathlib import Path

import pytest
from snakemake.persistence.file import FilePersistence

from dpmix.seals import write_record
from dpmix.status.records import Call, Took, calls, is_locked, is_running, started, told, took
from tests.workflow.test_workflow import Clone

LONG = f"results/demo/runs/{'a' * 120}/{'b' * 120}/metrics.json"


@pytest.fixture
def snakemakes(tmp_path: Path) -> FilePersistence:
    return FilePersistence(path=tmp_path / ".snakemake")


def test_marks_of_started_jobs_are_read_as_they_are_written(snakemakes: FilePersistence, tmp_path: Path) -> None:
    for path in ("a/é b.json", LONG):
        snakemakes._mark_incomplete(path, "17")
    (tmp_path / ".snakemake" / "incomplete" / "no base64!").write_text("")
    assert started(tmp_path) == {"a/é b.json", LONG}
    snakemakes._unmark_incomplete(LONG)
    assert started(tmp_path) == {"a/é b.json"}


def test_files_that_started_together_are_one_job(snakemakes: FilePersistence, tmp_path: Path) -> None:
    records = {
        "a": ("run-1", 100.0, 150.0), "b": ("run-1", 100.2, 190.0),  # one job, which was killed,
        "c": ("run-1", 300.0, 310.0),  # and called again for what it had not made
        "d": ("run-2", 100.0, 120.0),
        "e": ("run-2", 500.0, 400.0),  # the clock was set back
    }  # fmt: skip
    for path, (rule, start, end) in records.items():
        snakemakes._io_write(snakemakes._metadata_path, {"rule": rule, "starttime": start, "endtime": end}, path)
    found = took(tmp_path, [*records, "f"])
    assert set(found) == {Took(("a", "b"), 100, 190), Took(("c",), 300, 310), Took(("d",), 100, 120)}
    assert took(tmp_path, ["d"]) == [Took(("d",), 100, 120)]


def test_a_torn_record_is_none(snakemakes: FilePersistence, tmp_path: Path) -> None:
    snakemakes._io_write(snakemakes._metadata_path, {"rule": "a"}, "a")
    snakemakes._io_write(snakemakes._metadata_path, {"rule": "b", "starttime": 1, "endtime": 2}, "b")
    (next((tmp_path / ".snakemake" / "metadata").iterdir())).write_text('{"rule"')
    assert len(took(tmp_path, ["a", "b"])) <= 1


def test_runs_tell_how_long_they_took(tmp_path: Path) -> None:
    times = {
        "utc": {"seconds": 12.5, "finished": "2026-01-02 10:00:00+0000"},
        "elsewhere": {"seconds": 1, "finished": "2026-01-02 12:00:00+0200"},
        "undated": {"seconds": 1, "finished": ""},
        "endless": {"seconds": None, "finished": "2026-01-02 10:00:00+0000"},
    }
    for name, one in times.items():
        write_record(tmp_path / name, {"times": one})
    write_record(tmp_path / "timeless", {})
    (tmp_path / "torn").write_text('{"times"')
    end = 1767348000.0  # 10:00 UTC
    found = told(tmp_path, [*times, "timeless", "torn", "gone"])
    assert found == [Took(("utc",), end - 12.5, end), Took(("elsewhere",), end - 1, end)]


def test_a_call_says_what_was_typed_and_which_rules_it_ran(finished: Clone) -> None:
    (call,) = calls(finished.folder, "demo")
    assert call.command is not None
    assert call.command.startswith("snakemake")
    assert call.command.endswith("--cores 1 table12")
    assert "table12" in call.rules
    assert sum(rule.startswith("run-tiny-wrn-") for rule in call.rules) == 2
    assert calls(finished.folder, "paper") == []


def test_without_its_first_lines_a_log_still_has_the_rules() -> None:
    text = "Job stats:\njob       count\n------  -------\ntable9        1\ntotal         1\n\n"
    assert Call(Path("a"), text).rules == ["table9"]
    assert Call(Path("a"), text).command is None
    assert Call(Path("a"), "").rules == []


def test_a_folder_where_nothing_runs(finished: Clone, tmp_path: Path) -> None:
    assert not is_running(finished.folder)
    assert not is_locked(finished.folder)
    assert not is_locked(tmp_path)
    os.utime(tmp_path, (time.time(),) * 2)
    assert calls(tmp_path, "demo") == []
