"""What is on record while a run goes on, and what is on the screen."""

import re
from pathlib import Path

import pytest

from dpmix.errors import PrivacyError
from dpmix.own.training.following import Following
from dpmix.own.training.spent import Record, Run
from dpmix.privacy.accounting import Steps, composed_epsilon
from dpmix.privacy.plan import Plan
from tests.own.training.test_spent import a_run

PLAN = Plan.make(
    population=1000, batch_size=100, epochs=30, clip_norm=1.0, noise_multiplier=2.0, delta=1e-5, epsilon=8.0
)  # fmt: skip


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "spent.json")


def the_run(record: Record) -> Run:
    (run,) = record.runs()
    return run


def follow(record: Record, first: int, last: int) -> Following:
    following = Following(PLAN, 800.0, record, the_run(record))
    for step in range(first, last):
        following.step(step, PLAN.steps)
        assert the_run(record).steps >= step + 1  # before the step is executed
    return following


def test_a_whole_run_is_counted_with_its_steps(record: Record) -> None:
    record.begin(a_run(planned=PLAN.steps))
    following = follow(record, 0, PLAN.steps)
    following.done(PLAN.steps)
    assert (the_run(record).steps, the_run(record).state) == (PLAN.steps, "finished")


def test_steps_that_a_kill_lost_are_counted_besides(record: Record) -> None:
    record.begin(a_run(planned=PLAN.steps))
    follow(record, 0, 100)
    counted = the_run(record).steps
    assert 100 <= counted <= 100 + PLAN.steps // 50
    # The checkpoint was of 60 steps: the others were executed, and are executed again.
    following = follow(record, 60, PLAN.steps)
    assert the_run(record).steps >= 100 + PLAN.steps - 60
    following.done(PLAN.steps)
    assert the_run(record).steps == counted - 60 + PLAN.steps


def test_a_checkpoint_of_other_steps_than_are_on_record_is_refused(record: Record) -> None:
    record.begin(a_run(planned=PLAN.steps))
    follow(record, 0, 50).saved(50)
    begun = the_run(record).steps
    assert (the_run(record).kept, begun >= 50) == (50, True)
    for step in (0, 49, begun + 1):
        with pytest.raises(PrivacyError, match=f"it says {step} steps, and of this run .* has 50 that were kept last"):
            Following(PLAN, 800.0, record, the_run(record)).restored(step)
    following = Following(PLAN, 800.0, record, the_run(record))
    following.restored(50)
    following.step(50, PLAN.steps)
    assert the_run(record).kept == 50
    # Without a checkpoint the run begins again, and none is on record until one is kept.
    Following(PLAN, 800.0, record, the_run(record)).step(0, PLAN.steps)
    assert the_run(record).kept == 0


def test_epsilon_on_the_screen_is_of_the_executed_steps(
    record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dpmix.own.training.following._EVERY_SECONDS", 0.0)
    record.begin(a_run(planned=PLAN.steps))
    follow(record, 0, 151)
    lines = capsys.readouterr().err.splitlines()
    spent = composed_epsilon("pld", [Steps(PLAN.noise_multiplier, PLAN.step_rate, 150)], delta=1e-5)
    (line,) = [line for line in lines if line.startswith(f"step 150 of {PLAN.steps}, ")]
    shown = float(line.partition("ε = ")[2].split()[0])
    assert spent <= shown <= spent + 0.01
    assert "of 8, " in line
    # Of a release speed and time left have one digit; of research all.
    digits = [re.findall(r"about ([\d,]+) (?:images/s|s left)", line) for line in lines]
    assert [len(found) for found in digits] == [2] * 150
    assert {number.replace(",", "").rstrip("0")[1:] for found in digits for number in found} == {""}


def test_research_shows_its_speed_as_it_is(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpmix.own.training.following._EVERY_SECONDS", 0.0)
    clock = iter(range(10**6))
    monkeypatch.setattr("time.monotonic", lambda: 7.0 * next(clock))
    said: list[str] = []
    monkeypatch.setattr("dpmix.own.training.following.say", said.append)
    for state in ("running", "research"):
        path = record.path.with_name(state)
        Record(path).begin(a_run(planned=PLAN.steps, state=state))
        follow(Record(path), 0, 40)
    speeds = [re.findall(r"about ([\d,]+) images/s", line)[0] for line in said]
    assert {len(speed.replace(",", "").strip("0")) for speed in speeds[:39]} == {1}
    assert any(len(speed.strip("0")) > 1 for speed in speeds[39:])


def test_an_accuracy_is_shown_when_it_is_told(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """The loop tells of it in research alone (tests/training/test_watching.py)."""
    record.begin(a_run(planned=PLAN.steps, state="research"))
    following = Following(PLAN, 800.0, record, the_run(record))
    following.epoch(2, [91.5])
    assert capsys.readouterr().err == "epoch 2: accuracy 91.50 % of the test images\n"
    following.step(0, PLAN.steps)
    following.done(PLAN.steps)
    assert the_run(record).state == "research"
