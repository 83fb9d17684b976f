"""What follows a run step by step is told of steps, and only in research of anything that ε does not cover."""

from collections.abc import Sequence

import pytest

from dpmix.artefacts.experiment import Experiment
from dpmix.errors import PrivacyError
from dpmix.execution import Execution
from dpmix.files import read_json
from dpmix.training.runner import make
from tests.training.conftest import World

pytestmark = pytest.mark.filterwarnings("ignore")


class Told:
    """Keeps what it is told, and ends a run before the step `stop`."""

    def __init__(self, stop: int | None = None) -> None:
        self.steps: list[tuple[int, int]] = []
        self.epochs: list[tuple[int, list[float]]] = []
        self.kept: list[tuple[str, int]] = []
        self.stop = stop

    def step(self, step: int, steps: int) -> None:
        if step == self.stop:
            raise KeyboardInterrupt
        self.steps.append((step, steps))

    def restored(self, step: int) -> None:
        self.kept.append(("restored", step))

    def saved(self, step: int) -> None:
        self.kept.append(("saved", step))

    def epoch(self, epoch: int, accuracies: Sequence[float]) -> None:
        self.epochs.append((epoch, list(accuracies)))


@pytest.fixture(params=["scratch", "head"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def made(world: World, kind: str, told: Told, *, release: bool, every: float = 300.0) -> Experiment:
    run = (world.scratch if kind == "scratch" else world.experiment)(epochs=2, release=release)
    make([run], "demo", Execution(watcher=told, checkpoint_seconds=every))
    return run


def test_a_release_tells_of_steps_alone(world: World, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = Told()
    run = made(world, kind, told, release=True)
    steps = read_json(run.path("demo"))["steps"]["executed"]
    assert steps > 2
    assert told.steps == [(step, steps) for step in range(steps)]
    assert told.epochs == []
    assert "step" not in capsys.readouterr().err  # the bar's unit


def test_research_also_tells_of_accuracies(world: World, kind: str) -> None:
    told = Told()
    run = made(world, kind, told, release=False)
    assert told.epochs == [
        (number, [value]) for number, value in enumerate(read_json(run.path("demo"))["accuracy_by_epoch"], 1)
    ]
    assert len(told.epochs) == 2


def test_a_run_that_is_ended_from_there_goes_on_from_its_checkpoint(world: World, kind: str) -> None:
    first, second = Told(stop=3), Told()
    with pytest.raises(KeyboardInterrupt):
        made(world, kind, first, release=True, every=0.0)
    run = made(world, kind, second, release=True)
    steps = read_json(run.path("demo"))["steps"]["executed"]
    assert [step for step, _ in first.steps + second.steps] == list(range(steps))
    assert first.kept == [("saved", 1), ("saved", 2), ("saved", 3)]
    assert second.kept == [("restored", 3)]


def test_a_checkpoint_that_is_refused_from_there_trains_nothing(world: World, kind: str) -> None:
    class Refusing(Told):
        def restored(self, step: int) -> None:
            raise PrivacyError(f"it says {step}")

    with pytest.raises(KeyboardInterrupt):
        made(world, kind, Told(stop=3), release=True, every=0.0)
    refusing = Refusing()
    with pytest.raises(PrivacyError, match=r"is not of this run \(it says 3\); delete it, and the run starts afresh"):
        made(world, kind, refusing, release=True)
    assert refusing.steps == []
