from typing import Any

import numpy as np
import pytest

from dpmix.artefacts.experiment import Selection
from dpmix.files import read_json
from dpmix.privacy.noise import SeededNoise
from dpmix.training.inputs import learning_rate
from dpmix.training.runner import make
from tests.training.conftest import TEST, World, draw
from tests.training.jobs import RATES, remade

pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_learning_rate_is_chosen_and_then_used(world: World) -> None:
    tuning = world.experiment(learning_rate=None, holdout=0.25)
    selection = Selection(experiment=tuning, learning_rates=RATES)
    make([selection], "demo")
    chosen = read_json(selection.path("demo"))
    assert set(chosen["accuracy_by_learning_rate"]) == {"1", "8", "64"}
    assert chosen["held_out"] == 24
    best = max(chosen["accuracy_by_learning_rate"].values())
    assert chosen["accuracy_by_learning_rate"][f"{chosen['learning_rate']:g}"] == best
    run = world.experiment(learning_rate=selection)
    make([run], "demo")
    metrics = read_json(run.path("demo"))
    assert metrics["learning_rate"] == chosen["learning_rate"] == learning_rate(run, "demo")
    assert metrics["learning_rate_from"] == selection.path("demo").as_posix()


def test_candidates_are_compared_under_the_same_noise(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tuning = world.experiment(learning_rate=None, holdout=0.25)
    names, original = set(), SeededNoise.add

    def add(self: SeededNoise, total: Any, std: Any, *, step: int, name: str) -> Any:
        names.add(name)
        return original(self, total, std, step=step, name=name)

    monkeypatch.setattr(SeededNoise, "add", add)
    make([Selection(experiment=tuning, learning_rates=rates) for rates in (RATES, (2.0,))], "demo")
    assert len(names) == 1


def test_a_choice_does_not_depend_on_the_test_set(world: World) -> None:
    tuning = world.experiment(learning_rate=None, holdout=0.25)
    selection = Selection(experiment=tuning, learning_rates=RATES)
    first = remade([selection])
    _, labels = draw(TEST, 1)
    world.write_images(test=(np.full((TEST, 3, 16, 16), 255, dtype=np.uint8), labels))
    assert remade([selection]) == first
