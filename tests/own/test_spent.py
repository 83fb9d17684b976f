"""The record of what was spent: never less than what was executed."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from dpmix.errors import DataError, DpmixError
from dpmix.own.spent import Measured, Record, Run, in_words, so_far, tightest, together
from dpmix.privacy.accounting import Steps, composed_epsilons


def a_run(**changes: Any) -> Run:
    values: dict[str, Any] = {
        "key": "", "model": "m", "begun": "", "unit": "image", "population": 1000, "noise_multiplier": 2.0,
        "sampling_rate": 0.1, "planned": 100, "steps": 0, "delta": 1e-5,
    }  # fmt: skip
    return Run(**{**values, **changes})


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "mine.dpmix-spent.json")


def test_records_of_folders_around_and_within_are_read_and_never_written(record: Record, tmp_path: Path) -> None:
    around = Record(tmp_path / "around.json")
    first, mine = around.begin(a_run(steps=5)), record.begin(a_run())
    both = Record(record.path, (around.path, record.path))
    before = around.path.read_bytes()
    assert [run.key for run in both.runs()] == [first.key, mine.key]
    both.count(mine.key, 7)
    assert [run.steps for run in both.runs()] == [5, 7]
    with pytest.raises(DataError, match="has lost the run"):
        both.count(first.key, 7)
    assert around.path.read_bytes() == before


def test_a_run_that_may_go_on_counts_with_all_its_steps(record: Record, tmp_path: Path) -> None:
    work = tmp_path / "model.work"
    run = record.begin(a_run(work=str(work)))
    record.count(run.key, 10, lost=4)
    for there, state, steps in ((True, "running", 104), (False, "running", 10), (True, "finished", 10)):
        work.mkdir() if there and not work.exists() else None if there else work.rmdir()
        record.count(run.key, 10, state)
        found, _ = together(record.runs(), "image")
        assert found == composed_epsilons([Steps(2.0, 0.1, steps)], delta=1e-5)
    assert a_run(work=str(work), steps=150).counted == 150


def test_steps_are_only_ever_added(record: Record) -> None:
    run = record.begin(a_run())
    record.count(run.key, 30)
    record.count(run.key, 20)
    assert [one.steps for one in record.runs()] == [30]
    record.count(run.key, 25, "finished")
    assert [(one.steps, one.state) for one in record.runs()] == [(30, "finished")]
    with pytest.raises(DataError, match="has lost the run"):
        record.count("other", 1)


def test_of_runs_that_begin_at_once_none_is_lost(record: Record) -> None:
    def begin() -> None:
        mine = Record(record.path)
        mine.count(mine.begin(a_run()).key, 5)

    threads = [threading.Thread(target=begin) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({run.key for run in record.runs()}) == 12
    assert sum(run.steps for run in record.runs()) == 60


def test_together_is_one_run_of_all_steps_and_of_one_unit_alone() -> None:
    runs = [a_run(steps=100), a_run(steps=40, noise_multiplier=1.0, delta=1e-6), a_run(steps=0)]
    others = [a_run(steps=100, unit="person"), a_run(steps=100, state="research")]
    found, delta = together(runs + others, "image")
    expected = composed_epsilons([Steps(2.0, 0.1, 100), Steps(1.0, 0.1, 40)], delta=1e-5)
    assert (found, delta) == (expected, 1e-5)
    more, _ = together(runs[:1], "image", [runs[1].statement()])
    assert more == expected
    assert together(others[1:], "image") == ({}, 0.0)


def test_what_is_told_of_it() -> None:
    assert so_far((), "image") is None
    assert so_far((a_run(key="a", steps=5),), "image", without="a") is None
    runs = (
        a_run(key="a", steps=100, state="finished"),
        a_run(key="b", steps=7),
        a_run(key="c", steps=9, unit="person"),
        a_run(key="d", state="research", steps=9),
    )
    spent = composed_epsilons([Steps(2.0, 0.1, 107)], delta=1e-5)
    assert so_far(runs, "image") == (
        f"spent so far on these images: {in_words(spent, 1e-5)} (2 runs, 1 of them unfinished), and 1 more with ε for "
        "one person, which does not add up with it, and 1 for research, which no ε covers"
    )
    # Never less than was spent.
    assert float(in_words(spent, 1e-5).split()[2]) >= spent["pld"]
    assert tightest({"rdp": 3.0, "prv": 2.0}) == 2.0
    assert tightest({}) == float("inf")


def test_a_released_accuracy_is_on_record(record: Record) -> None:
    record.begin(a_run())
    record.add(Measured(model="m", unit="image", epsilon=0.1))
    assert [one.epsilon for one in record.measured()] == [0.1]
    assert len(record.runs()) == 1


def test_one_that_is_damaged_or_cannot_be_written_is_not_ignored(record: Record, tmp_path: Path) -> None:
    record.begin(a_run())
    content = json.loads(record.path.read_text(encoding="utf-8"))
    content["runs"][0]["steps"] = -1
    record.path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match="is damaged; put back an older copy"):
        record.runs()
    record.path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="is damaged; put back an older copy"):
        record.begin(a_run())
    (tmp_path / "file").write_text("", encoding="utf-8")
    for place in (tmp_path / "file" / "spent.json", tmp_path / "nowhere" / "spent.json"):
        with pytest.raises(DpmixError, match="--ledger FILE") as caught:
            Record(place).begin(a_run())
        assert len(str(caught.value).splitlines()) == 1
