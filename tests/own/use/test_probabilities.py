"""Probabilities of images, in order, and files that cannot be read among them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dpmix.data.decoding import part_of_paths
from dpmix.data.folders import decoded
from dpmix.errors import DataError
from dpmix.own.model.model_folder import ModelFolder
from dpmix.own.use.probabilities import probabilities
from tests.own.folders import write_images

pytestmark = pytest.mark.filterwarnings("ignore")


def test_they_are_the_softmax_of_the_logits(model: ModelFolder, tmp_path: Path) -> None:
    files = write_images(tmp_path / "images")
    classifier = model.load()
    pixels = torch.from_numpy(np.stack(list(decoded(files, classifier.resolution, classifier.channels)))).float() / 255
    # In the same batches: products of other shapes round otherwise.
    logits = torch.cat([classifier.logits(part) for part in pixels.split(5)])
    expected = torch.softmax(logits, dim=1).numpy()
    found = list(probabilities(classifier, part_of_paths(files, np.zeros(len(files))), batch_size=5))
    assert np.abs(np.stack(found) - expected).max() < 1e-6
    assert np.ptp(expected, axis=0).max() > 0.05  # images differ, so their order shows


def test_a_damaged_file_has_its_place_and_the_others_theirs(model: ModelFolder, tmp_path: Path) -> None:
    files = write_images(tmp_path / "images", 8)
    classifier = model.load()
    whole = list(probabilities(classifier, part_of_paths(files, np.zeros(8))))
    files[0].write_bytes(b"no image")
    files[5].write_bytes(files[5].read_bytes()[:60])
    found = list(probabilities(classifier, part_of_paths(files, np.zeros(8)), batch_size=3))
    assert [place for place, one in enumerate(found) if isinstance(one, DataError)] == [0, 5]
    assert files[5].name in str(found[5])
    for place in (1, 2, 3, 4, 6, 7):
        assert np.allclose(found[place], whole[place], atol=1e-6)
