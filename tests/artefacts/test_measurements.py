"""What a distance depends on."""

from pathlib import Path

from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.measurements import Distance
from tests.artefacts.test_experiment import DATASET, SYNTHETIC, experiment


def test_a_distance_depends_on_views_but_not_on_heads() -> None:
    def distance(run: Experiment) -> Path:
        pair = {"first": "views", "second": "train", "views": run, "synthetic": SYNTHETIC}
        return Distance(dataset=DATASET, extractor=None, resolution=16, **pair).path("demo")

    assert distance(experiment(epsilon=8.0, learning_rate=1.0)) == distance(experiment())
    assert distance(experiment(k_self=0)) != distance(experiment())
