"""The record of what was spent: never less than what was executed."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from dpmix.errors import DataError, DpmixError
from dpmix.own.training.spent import Measured, Record, Run
from dpmix.own.training.totals import together
from dpmix.own.training.work_folder import BEGUN
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


def test_a_run_whose_work_folder_is_another_runs_by_now_goes_on_no_more(record: Record, tmp_path: Path) -> None:
    """It was deleted, and a run with the same name has begun in its place."""
    work = tmp_path / "model.work"
    run = record.begin(a_run(work=str(work)))
    record.count(run.key, 10)
    work.mkdir()
    for said, steps in (
        ({"key": "another"}, 10), ({"key": run.key}, 100), (None, 100), ("damaged", 100), ({}, 100),
    ):  # fmt: skip
        (work / BEGUN).unlink(missing_ok=True)
        if said is not None:
            (work / BEGUN).write_text(json.dumps(said), encoding="utf-8")
        assert [one.counted for one in record.runs()] == [steps]


def test_a_run_on_links_is_entered_where_they_lead_too(tmp_path: Path) -> None:
    """Also where both records lie in one folder, which is locked for each change."""
    (tmp_path / "far").mkdir()
    there = [tmp_path / "real.json", tmp_path / "far" / "real.json"]
    mine = Record(tmp_path / "links.json", also=there)
    run, other = mine.begin(a_run()), Record(there[0]).begin(a_run(steps=3))
    mine.count(run.key, 7, lost=2)
    mine.add(Measured(model="m", unit="image", epsilon=0.5))
    mine.add(Measured(model="m", unit="image", epsilon=0.5))
    for path, keys in ((mine.path, [run.key]), (there[0], [other.key, run.key]), (there[1], [run.key])):
        found = {one.key: one for one in Record(path).runs()}
        assert sorted(found) == sorted(keys)
        assert (found[run.key].steps, found[run.key].lost) == (7, 2)
        assert [one.epsilon for one in Record(path).measured()] == [0.5, 0.5]
    # Each is counted once, by whichever of the records has most of it.
    everything = Record(there[0], [mine.path, *there])
    assert {one.key: one.steps for one in everything.runs()} == {other.key: 3, run.key: 7}
    assert len(everything.measured()) == 2
    Record(mine.path).count(run.key, 9)
    assert {one.key: one.steps for one in everything.runs()} == {other.key: 3, run.key: 9}
    # An entry that was lost there comes back with the next step.
    there[1].unlink()
    mine.count(run.key, 11, "finished")
    assert [(one.steps, one.state) for one in Record(there[1]).runs()] == [(11, "finished")]


def test_one_that_took_no_step_is_taken_out_of_all_records(tmp_path: Path) -> None:
    mine = Record(tmp_path / "links.json", also=[tmp_path / "real.json"])
    mine.withdraw(mine.begin(a_run()).key)
    assert mine.runs() == Record(tmp_path / "real.json").runs() == ()


def test_steps_are_only_ever_added(record: Record) -> None:
    run = record.begin(a_run())
    record.count(run.key, 30)
    record.count(run.key, 20)
    assert [one.steps for one in record.runs()] == [30]
    record.count(run.key, 25, "finished")
    assert [(one.steps, one.state) for one in record.runs()] == [(30, "finished")]
    with pytest.raises(DataError, match="has lost the run"):
        record.count("other", 1)


def test_one_that_executed_nothing_can_be_withdrawn_and_no_other(record: Record) -> None:
    stays, goes, took_steps = (record.begin(a_run(steps=0)) for _ in range(3))
    record.count(took_steps.key, 1)
    record.withdraw(goes.key)
    record.withdraw(took_steps.key)
    assert [run.key for run in record.runs()] == [stays.key, took_steps.key]


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


def test_a_released_accuracy_is_on_record(record: Record) -> None:
    record.begin(a_run())
    record.add(Measured(model="m", unit="image", epsilon=0.1))
    assert [one.epsilon for one in record.measured()] == [0.1]
    assert len(record.runs()) == 1
    # One of an older record has no name, and each of them counts.
    content = json.loads(record.path.read_text(encoding="utf-8"))
    content["measured"] = [{"model": "m", "unit": "image", "epsilon": 0.1}] * 2
    record.path.write_text(json.dumps(content), encoding="utf-8")
    assert len(record.measured()) == 2


def test_one_that_is_damaged_or_cannot_be_written_is_not_ignored(record: Record, tmp_path: Path) -> None:
    record.begin(a_run())
    content = json.loads(record.path.read_text(encoding="utf-8"))
    content["runs"][0]["steps"] = -1
    record.path.write_text(json.dumps(content), encoding="utf-8")
    remedy = "; it records what was spent on the images: put back an older copy, or account for it by hand$"
    with pytest.raises(DataError, match=rf"is damaged at runs\.0\.steps{remedy}"):
        record.runs()
    record.path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=rf"is not valid JSON .*{remedy}"):
        record.begin(a_run())
    (tmp_path / "file").write_text("", encoding="utf-8")
    for place in (tmp_path / "file" / "spent.json", tmp_path / "nowhere" / "spent.json"):
        with pytest.raises(DpmixError, match=r"`ledger='FILE'`$") as caught:
            Record(place).begin(a_run())
        assert len(str(caught.value).splitlines()) == 1
