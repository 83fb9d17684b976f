"""What a run tells TensorBoard: of a release what the screen shows, and nothing else."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dpmix.errors import DpmixError, ParamsError
from dpmix.own.following import Following
from dpmix.own.spent import Record
from dpmix.own.tracking import TensorBoard
from dpmix.own.train import train
from dpmix.privacy.accounting import Steps, composed_epsilon
from tests import needs
from tests.own.test_following import PLAN
from tests.own.test_spent import a_run


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


def test_tensorboard_reads_what_is_written(tmp_path: Path) -> None:
    needs.module("tensorboard", needs.TENSORBOARD)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = TensorBoard(tmp_path / "mine")
    tracker.log({"epsilon": 1.5}, 7)
    tracker.close()
    seen = EventAccumulator(str(tmp_path / "mine"))
    seen.Reload()
    assert [(one.step, one.value) for one in seen.Scalars("epsilon")] == [(7, 1.5)]


def test_a_release_tells_tensorboard_epsilon_and_speed_alone(images: Path, tiny: dict[str, Any]) -> None:
    needs.module("tensorboard", needs.TENSORBOARD)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(images, epsilon=4, tensorboard="board", **tiny)
    (run,) = Path("board").iterdir()
    seen = EventAccumulator(str(run))
    seen.Reload()
    tags = seen.Tags()
    assert run.name == "my-images-model"
    assert {name.replace("_", " ") for name in tags["scalars"]} == {"epsilon", "images per second"}
    assert not any(tags[kind] for kind in ("images", "audio", "histograms", "tensors"))
    assert 3.5 < seen.Scalars("epsilon")[-1].value <= 4.01


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    needs.module("tensorboard", needs.TENSORBOARD)
    (tmp_path / "a-file").touch()
    with pytest.raises(DpmixError, match="cannot be written") as caught:
        TensorBoard(tmp_path / "a-file" / "mine")
    assert str(caught.value).endswith("; name another: --tensorboard")
