"""What a job makes of an artefact does not depend on what else it was asked for, nor in which order."""

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.data import EncoderModel
from dpmix.artefacts.experiment import GradientRecord, Selection
from dpmix.data.images import load
from dpmix.models.encoder_files import load_encoder
from dpmix.models.features import Featurizer
from dpmix.models.photographs import crops
from dpmix.seals import read_record
from dpmix.training.data import load_data
from dpmix.training.heads import Head, train_heads
from dpmix.training.runner import make
from tests.training.conftest import ENCODER, TEST, TRAIN, World, draw, plan_for, write_store

pytestmark = pytest.mark.filterwarnings("ignore")


def made(*artefacts: Artefact) -> list[Any]:
    """What a fresh job makes: parsed JSON without times, or the arrays of a gradient record."""
    make(artefacts, "demo")
    found: list[Any] = []
    for artefact in artefacts:
        path = artefact.path("demo")
        if path.suffix == ".json":
            found.append(read_record(path))
            found[-1].pop("times", None)
        else:
            with np.load(path) as record:
                found.append({name: record[name].tolist() for name in record.files})
        path.unlink()
    return found


def test_a_record_and_its_run_in_any_order_and_company(world: World) -> None:
    run, noisier = world.experiment(epsilon=4.0, momentum=0.5), world.experiment(epsilon=1.0)
    world.plan(noisier, 8.0)
    (alone,), (metrics,) = made(GradientRecord(experiment=run)), made(run)
    (of_noisier,) = made(GradientRecord(experiment=noisier))
    assert np.shape(alone["magnitudes"]) == (3, 4 * 9)
    assert alone["epsilon"] == metrics["epsilon"]["rdp"]
    assert not np.allclose(alone["magnitudes"], of_noisier["magnitudes"], rtol=1e-2)
    one, other = (run, metrics), (GradientRecord(experiment=run), alone)
    third = (GradientRecord(experiment=noisier), of_noisier)
    orders: tuple[tuple[tuple[Artefact, Any], ...], ...] = (
        (one, other), (other, one), (other, third, one), (third, one, other)
    )  # fmt: skip
    for order in orders:
        for found, (_, expected) in zip(made(*(artefact for artefact, _ in order)), order, strict=True):
            assert found.keys() == expected.keys()
            if "magnitudes" in found:
                np.testing.assert_allclose(found["magnitudes"], expected["magnitudes"], rtol=1e-4, atol=1e-6)
                assert found["epsilon"] == expected["epsilon"]
            else:
                assert found == expected


def test_a_record_holds_what_the_trainer_measured(world: World) -> None:
    run = world.experiment(epsilon=float("inf"), momentum=0.5, clip_norm=0.5)
    world.plan(run, 0.0)
    (record,) = made(GradientRecord(experiment=run))
    data = load_data(run, "demo")
    encode = load_encoder(EncoderModel(encoder=ENCODER).path("demo").parent)
    assert data.public is not None
    featurize = Featurizer.standardized(encode, data.public, "cpu")
    head = Head(plan_for(run.plan(), 0.0), 4.0, "a", momentum=0.5, record_magnitudes=True)
    (outcome,) = train_heads(run, [head], data, featurize)
    assert outcome.magnitudes is not None
    np.testing.assert_allclose(record["magnitudes"], outcome.magnitudes, rtol=1e-4, atol=1e-6)


def test_features_are_standardised_by_d_alone(world: World) -> None:
    """As they leave the house: D's mean and standard deviation, over the root of the number of features."""
    run = world.experiment(release=True, epochs=1)
    make([run], "demo")
    found = load_file(run.directory("demo") / "model.safetensors")
    synthetic = run.synthetic_images()
    assert synthetic is not None
    public = load(synthetic.path("demo").parent, "train")
    encode = load_encoder(EncoderModel(encoder=ENCODER).path("demo").parent)
    features = encode(torch.from_numpy(np.array(public.images)).float() / 255).double().numpy()
    np.testing.assert_allclose(found["shift"], features.mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["scale"], 1 / (features.std(axis=0, ddof=1) * 8**0.5), rtol=1e-4)


def test_features_are_standardised_by_photographs_and_by_no_image_of_anybody(world: World) -> None:
    """As they leave the house: the photographs' mean and typical norm, whatever the private images are."""
    model = ENCODER.model_copy(update={"standardize": "encoder"})
    run = world.experiment(model=model, release=True, epochs=1, k_diff=0, synthetic=None)
    encode = load_encoder(EncoderModel(encoder=ENCODER).path("demo").parent)
    features = encode(crops(16)).double().numpy()
    shift = features.mean(axis=0)
    norm = np.median(np.linalg.norm(features - shift, axis=1))
    for seed in (0, 50):  # other private images
        write_store(run.images().path("demo").parent, train=draw(TRAIN, seed), test=draw(TEST, seed + 1))
        make([run], "demo")
        found = load_file(run.directory("demo") / "model.safetensors")
        run.path("demo").unlink()
        np.testing.assert_allclose(found["shift"], shift, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["scale"], np.full(8, 1 / norm), rtol=1e-3)


def test_the_choice_is_by_held_out_accuracy_after_the_last_epoch(world: World) -> None:
    """Against a run of each candidate; until a seed for which the best epoch of all would choose otherwise."""
    rates = (1.0, 3.0, 9.0, 15.0)
    for seed in range(1, 30):
        tuning = world.experiment(learning_rate=None, holdout=0.5, seed=seed, epochs=4, weight_decay=0.1)
        world.plan(tuning, 6.0)
        selection = Selection(experiment=tuning, learning_rates=rates)
        runs = [tuning.model_copy(update={"learning_rate": rate}) for rate in rates]
        chosen, *metrics = made(selection, *runs)
        last = {rate: one["accuracy_by_epoch"][-1] for rate, one in zip(rates, metrics, strict=True)}
        peak = {rate: max(one["accuracy_by_epoch"]) for rate, one in zip(rates, metrics, strict=True)}
        assert chosen["accuracy_by_learning_rate"] == {f"{rate:g}": value for rate, value in last.items()}
        assert chosen["learning_rate"] == min(rate for rate in rates if last[rate] == max(last.values()))
        if peak[chosen["learning_rate"]] < max(peak.values()):
            return
    pytest.fail("no seed tells the last epoch from the best one")


def test_of_equals_the_smallest_rate_is_chosen(world: World) -> None:
    """Rates that are next to nothing give the same model but for its length: the same predictions."""
    tuning = world.experiment(learning_rate=None, holdout=0.25)
    for order in ((1e-6, 2e-6, 4e-6), (4e-6, 1e-6, 2e-6), (4e-6, 2e-6, 1e-6)):
        (chosen,) = made(Selection(experiment=tuning, learning_rates=order))
        assert len(set(chosen["accuracy_by_learning_rate"].values())) == 1
        assert chosen["learning_rate"] == 1e-6
