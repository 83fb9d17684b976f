"""A run that has begun is found again with its seed and its entry; damaged, lost or of another plan it is refused."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dpmix import __version__
from dpmix.errors import DataError, DpmixError
from dpmix.files import read_json
from dpmix.own.choices.request import Request, request
from dpmix.own.training.begun import begun
from dpmix.own.training.spent import Record
from dpmix.own.training.totals import so_far
from dpmix.own.training.work_folder import BEGUN, entered
from tests.artefacts.test_experiment import experiment
from tests.own.training.test_following import PLAN

RUN = experiment()


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Request]:
    """What is asked for; the working directory is its work folder."""
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    made = request("mine", None, epsilon=8)
    with entered(made.work):
        yield made


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "spent.json")


def test_a_run_is_entered_once_with_what_it_will_execute(asked: Request, record: Record) -> None:
    seed, entry = begun(asked, PLAN, RUN, record)
    assert record.runs() == (entry,)
    assert (entry.model, entry.state, entry.unit, entry.work) == ("mine-model", "running", "image", str(asked.work))
    assert (entry.population, entry.planned, entry.steps, entry.delta) == (1000, PLAN.steps, 0, 1e-5)
    assert (entry.noise_multiplier, entry.sampling_rate) == (2.0, PLAN.step_rate)
    record.count(entry.key, 12)
    assert begun(asked, PLAN, RUN, record) == (seed, entry.model_copy(update={"steps": 12}))
    assert len(record.runs()) == 1


def test_the_seed_of_research_is_that_which_was_asked_for(asked: Request, record: Record) -> None:
    seed, entry = begun(asked.model_copy(update={"research": True, "seed": 7}), PLAN, RUN, record)
    assert (seed, entry.state) == (7, "research")
    Path(BEGUN).unlink()
    assert begun(asked.model_copy(update={"research": True}), PLAN, RUN, record)[0] == 0


def test_the_seed_of_a_release_is_drawn_anew_for_each_run(asked: Request, record: Record) -> None:
    seeds = set()
    for _ in range(5):
        seeds.add(begun(asked, PLAN, RUN, record)[0])
        Path(BEGUN).unlink()
    assert len(seeds) == 5
    assert len(record.runs()) == 5


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{}",
        b"[]",
        b"\xff",
        b'{"key": 5, "seed": "x"}',
        b'{"key": "ab", "seed": -1}',
        b'{"key": "ab", "seed": 1}',
    ],
)
def test_what_is_damaged_is_one_line(content: bytes, asked: Request, record: Record) -> None:
    begun(asked, PLAN, RUN, record)
    Path(BEGUN).write_bytes(content)
    with pytest.raises(DpmixError, match=r"run\.json") as caught:
        begun(asked, PLAN, RUN, record)
    assert len(str(caught.value).splitlines()) == 1
    assert "delete" in str(caught.value)
    assert len(record.runs()) == 1


def test_a_run_that_the_record_has_lost_does_not_go_on(asked: Request, record: Record) -> None:
    _, entry = begun(asked, PLAN, RUN, record)
    record.path.unlink()
    with pytest.raises(DataError, match=rf"has lost this run, {entry.key}; put back the file that had it"):
        begun(asked, PLAN, RUN, record)
    assert not record.path.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"noise_multiplier": 1.9}, {"noise_multiplier": 2.1}, {"population": 999}, {"batch_size": 101},
        {"steps": PLAN.steps + 1}, {"delta": 1e-6},
    ],
)  # fmt: skip
def test_a_run_with_another_plan_does_not_go_on(change: dict[str, float], asked: Request, record: Record) -> None:
    begun(asked, PLAN, RUN, record)
    with pytest.raises(DataError, match="on record with another plan than it has now") as caught:
        begun(asked, replace(PLAN, **change), RUN, record)
    assert str(asked.work) in str(caught.value)
    with pytest.raises(DataError, match="on record with another plan"):
        begun(asked.model_copy(update={"unit": "person"}), PLAN, RUN, record)


def test_a_run_whose_code_or_settings_have_changed_does_not_go_on(asked: Request, record: Record) -> None:
    seed, entry = begun(asked, PLAN, RUN, record)
    other = RUN.model_copy(update={"learning_rate": 2 * RUN.learning_rate})
    line = f"put back dpmix {__version__} as it was, or delete the folder and train afresh"
    with pytest.raises(DataError, match=re.escape(line)) as caught:
        begun(asked, PLAN, other, record)
    assert str(asked.work) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    # Which seed was drawn is no change.
    assert begun(asked, PLAN, RUN.model_copy(update={"seed": 1 + RUN.seed}), record) == (seed, entry)
    assert record.runs() == (entry,)


def test_a_run_that_could_not_be_kept_spends_nothing(
    asked: Request, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is on record first; when its folder is gone, as after a full disk, it has no steps."""

    def full(*_: object) -> None:
        raise DpmixError("cannot write run.json: No space left on device; free space or choose another folder")

    monkeypatch.setattr("dpmix.own.training.begun.write_json", full)
    with pytest.raises(DpmixError, match="No space left"):
        begun(asked, PLAN, RUN, record)
    monkeypatch.undo()
    assert not (asked.work / BEGUN).exists()
    asked.work.rename(asked.work.with_name("gone"))
    assert so_far(record.runs(), "image") is None
    assert read_json(record.path)["runs"][0]["steps"] == 0


def test_the_line_of_a_damaged_run_names_the_folder_to_delete(asked: Request, record: Record) -> None:
    begun(asked, PLAN, RUN, record)
    Path(BEGUN).write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(f"delete {asked.work} and train afresh")):
        begun(asked, PLAN, RUN, record)
