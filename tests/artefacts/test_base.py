"""Hashes and paths of all kinds of artefact."""

from pathlib import Path

from dpmix.artefacts.base import Artefact, digest, number
from dpmix.artefacts.experiment import GradientRecord, Selection
from tests.artefacts.test_experiment import SYNTHETIC, experiment


def test_a_copy_does_not_inherit_the_hash() -> None:
    run = experiment()
    assert run.hash != run.model_copy(update={"epsilon": 8.0}).hash == experiment(epsilon=8.0).hash


def test_no_two_kinds_of_artefact_share_a_path() -> None:
    run = experiment()
    made: list[Artefact] = [run, GradientRecord(experiment=run), run.plan(), run.images(), SYNTHETIC, *run.inputs()]
    made += [SYNTHETIC.model_on_disk(), Selection(experiment=run, learning_rates=(1.0,))]
    paths = {artefact.path("demo") for artefact in made}
    assert len(paths) == len({(type(artefact), artefact.hash) for artefact in made})
    assert GradientRecord(experiment=run).path("demo").parent == run.path("demo").parent


def test_data_is_shared_between_scales_and_results_are_not() -> None:
    run = experiment()
    for artefact in (run.images(), run.encoder(), run.synthetic_images(), SYNTHETIC, SYNTHETIC.model_on_disk()):
        assert artefact is not None
        assert artefact.path("demo") == artefact.path("paper")
    for artefact in (run, run.plan(), GradientRecord(experiment=run), Selection(experiment=run, learning_rates=(1.0,))):
        assert artefact.path("demo") == Path("results/demo", *artefact.path("paper").parts[2:])


def test_digests_and_numbers_are_canonical() -> None:
    assert digest({"a": 1, "b": [2.5, None]}) == digest({"b": [2.5, None], "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.5})
    assert [number(value) for value in (8.0, 0.5, 1e-5)] == ["8", "0.5", "1e-05"]
