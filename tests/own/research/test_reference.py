"""The reference without privacy is scikit-learn's regression on the encoder's own features."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from dpmix.artefacts.data import EncoderModel
from dpmix.build import build
from dpmix.data.manifest import write_manifest
from dpmix.execution import Execution
from dpmix.models.encoder_files import load_encoder
from dpmix.models.features import Featurizer
from dpmix.own.choices.request import request
from dpmix.own.choices.setup import listed, setup
from dpmix.own.research.reference import logistic_regression
from dpmix.training.data import load_data

pytestmark = pytest.mark.filterwarnings("ignore")


def test_it_is_the_regression_that_held_out_images_choose(images: Path, quick: dict[str, Any]) -> None:
    asked = request(images, None, epsilon=4.0, research=True, **quick)
    listing = listed(asked)
    write_manifest(listing, Path("manifest.csv"))
    run = setup(asked, listing).experiment(1.0, 0)
    encoder, execution = EncoderModel(encoder=run.model), Execution()
    build(encoder, run.images(), scale="own", quiet=True)
    found = logistic_regression(run, "own", execution)
    # Colours are easily told apart; a guess has 33 %.
    assert 80 < found <= 100
    data = load_data(run, "own")
    encode = load_encoder(encoder.path("own").parent, "cpu")
    featurize = Featurizer.standardized_by_photographs(encode)
    train, test = (featurize.of(part, "cpu").numpy() for part in (data.private, data.evaluation))
    possible = {
        100
        * LogisticRegression(C=strength, max_iter=500)
        .fit(train, np.asarray(data.private.labels))
        .score(test, np.asarray(data.evaluation.labels))
        for strength in (1.0, 10.0, 100.0, 1000.0)
    }
    assert any(abs(found - one) < 4 for one in possible)
