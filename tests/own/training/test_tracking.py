"""What a run tells TensorBoard: of a release what the screen shows, and nothing else."""

import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dpmix.errors import DpmixError, ParamsError
from dpmix.own.model.handed_out import day
from dpmix.own.training.following import Following
from dpmix.own.training.spent import Record
from dpmix.own.training.tracking import TensorBoard
from dpmix.own.training.train import train
from dpmix.privacy.accounting import Steps, composed_epsilon
from tests import needs
from tests.own.training.test_following import PLAN
from tests.own.training.test_spent import a_run


class Kept:
    """A tracker that keeps what it gets."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.closed = 0

    def log(self, values: Mapping[str, float], step: int) -> None:
        assert not self.closed
        self.logged.append((step, dict(values)))

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("state", ["running", "research"])
def test_epsilon_and_speed_are_told_and_of_research_accuracy_too(tmp_path: Path, state: str) -> None:
    record, kept = Record(tmp_path / "spent.json"), Kept()
    run = record.begin(a_run(planned=PLAN.steps, state=state))
    following = Following(PLAN, 800.0, record, run, [kept])
    for step in range(PLAN.steps):
        following.step(step, PLAN.steps)
    if state == "research":
        following.epoch(30, [91.5])
    following.done(PLAN.steps)
    following.close()
    assert kept.closed == 1
    names = {name for _, values in kept.logged for name in values}
    assert names == {"epsilon", "images per second"} | ({"test accuracy"} if state == "research" else set())
    step, last = kept.logged[-1]
    spent = composed_epsilon("pld", [Steps(PLAN.noise_multiplier, PLAN.step_rate, PLAN.steps)], delta=1e-5)
    assert (step, spent <= last["epsilon"] <= spent + 0.01) == (PLAN.steps, True)
    assert 10 < len(kept.logged) <= 55
    if state == "running":
        speeds = [f"{values['images per second']:.0f}" for _, values in kept.logged]
        assert {len(speed.rstrip("0")) for speed in speeds} == {1}


def test_without_the_package_it_is_one_line(
    images: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is found in a Python without any path."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [])
        for name in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
            patch.delitem(sys.modules, name)
        with pytest.raises(ParamsError, match=r"; install it: pip install tensorboard$") as caught:
            train(images, epsilon=4, **quick, tensorboard="there")
    assert len(str(caught.value).splitlines()) == 1
    assert sorted(path.name for path in Path().iterdir()) == ["my-images"]


def scalars(folder: Path) -> dict[str, list[Any]]:
    """All that TensorBoard finds in a run's folder, by name: the step, the value and the time of each."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen = EventAccumulator(str(folder))
    seen.Reload()
    tags = seen.Tags()
    assert not any(tags[kind] for kind in ("images", "audio", "histograms", "tensors"))
    return {name: seen.Scalars(name) for name in tags["scalars"]}


def times_in(folder: Path) -> set[float]:
    """Every time that is written in the files of a run, or into their names, or that they have."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    files = list(folder.iterdir())
    inside = {event.wall_time for path in files for event in EventFileLoader(str(path)).Load()}
    names = {float(path.name.split(".")[3]) for path in files}
    return inside | names | {path.stat().st_mtime for path in (*files, folder)}


@pytest.mark.parametrize("timed", [False, True])
def test_tensorboard_reads_what_is_written(tmp_path: Path, timed: bool) -> None:
    needs.module("tensorboard", needs.TENSORBOARD)
    began = time.time()
    for step in (7, 8):  # as a run that goes on, whose files are beside those from before
        tracker = TensorBoard(tmp_path / "mine", timed=timed)
        tracker.log({"test accuracy": 1.5}, step)
        tracker.close()
    (seen,) = scalars(tmp_path / "mine").values()
    assert [(one.step, one.value) for one in seen] == [(7, 1.5), (8, 1.5)]
    assert len(list((tmp_path / "mine").iterdir())) == 2
    assert all(began <= one.wall_time <= time.time() for one in seen) == timed
    assert (len(times_in(tmp_path / "mine")) == 1) == (not timed)


def test_a_release_tells_tensorboard_epsilon_and_speed_and_no_time_but_the_day(
    images: Path, tiny: dict[str, Any]
) -> None:
    needs.module("tensorboard", needs.TENSORBOARD)
    days = {day()}
    train(images, epsilon=4, tensorboard="board", **tiny)
    days.add(day())  # at midnight two
    (run,) = Path("board").iterdir()
    assert run.name == "my-images-model"
    seen = scalars(run)
    assert set(seen) == {"epsilon", "images per second"}
    assert 3.5 < seen["epsilon"][-1].value <= 4.01
    assert len(seen["epsilon"]) > 5
    assert times_in(run) <= days
    assert not any(socket.gethostname() in path.name for path in run.iterdir())


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    needs.module("tensorboard", needs.TENSORBOARD)
    (tmp_path / "a-file").touch()
    with pytest.raises(DpmixError, match="cannot be written") as caught:
        TensorBoard(tmp_path / "a-file" / "mine", timed=False)
    assert str(caught.value).endswith("; name another: `tensorboard`")
