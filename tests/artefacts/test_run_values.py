"""What settings of a run come to, as numbers that can be counted by hand."""

import pytest

from dpmix.artefacts.data import EncoderModel, ImageStore, SyntheticStore
from dpmix.artefacts.plan_file import PlanFile
from tests.artefacts.test_experiment import DATASET, ENCODER, NETWORK, SYNTHETIC, experiment


def test_populations_are_public_constants() -> None:
    assert experiment().population == 200
    assert experiment(subset="S1").population == 100
    tuning = experiment(subset="S1", holdout=0.25)
    assert (tuning.held_out_size, tuning.population, tuning.plan().population) == (25, 75, 75)
    assert experiment().views == 9


def test_where_persons_are_protected_they_are_counted() -> None:
    assert experiment(unit="person", dataset=DATASET.model_copy(update={"persons": 60})).population == 60


def test_a_release_has_no_seed() -> None:
    assert experiment(seed=7).private_seed == 7
    assert experiment(seed=7, release=True).private_seed is None


def test_of_half_the_images_no_more_synthetic_ones_than_these_are_used() -> None:
    assert experiment(synthetic=SYNTHETIC.model_copy(update={"size": 300})).synthetic_size == 300
    assert experiment(synthetic=SYNTHETIC.model_copy(update={"size": 300}), subset="S1").synthetic_size == 100
    assert experiment(synthetic=None, k_diff=0).synthetic_size == 0


@pytest.mark.parametrize(
    ("changes", "uses"),
    [
        ({}, True),
        ({"k_diff": 0}, False),
        ({"k_diff": 0, "pretrain_epochs": 1}, True),
        ({"k_diff": 0, "model": ENCODER.model_copy(update={"standardize": "public"})}, True),
        ({"subset": "S1", "mix_with": "S2"}, False),
    ],
)
def test_a_run_is_made_of_what_it_uses(changes: dict[str, object], uses: bool) -> None:
    run = experiment(**changes)
    made_of = [type(one) for one in run.inputs()]
    assert (SyntheticStore in made_of) == uses == run.uses_synthetic
    assert {ImageStore, EncoderModel, PlanFile} <= set(made_of)
    assert run.images().resolution == run.model.resolution


def test_a_network_has_no_encoder() -> None:
    assert experiment(model=NETWORK).encoder() is None


def test_only_a_plan_that_mixes_weights_or_is_matched_to_one_says_how() -> None:
    plain = experiment(mix_width=0.3).plan()
    assert plain == experiment().plan()
    mixed = experiment(mix_width=0.3, update="model-mix", model=NETWORK)
    assert (mixed.plan().mix_width, mixed.plan().truncation) == (0.3, 1.0)
    cut = mixed.model_copy(update={"clipping": "coordinates", "truncation": 50.0})
    assert (cut.plan().mix_width, cut.plan().truncation) == (0.3, 50.0)
    assert mixed.model_copy(update={"update": "sgd", "calibration": "matched"}).plan().mix_width == 0.3
