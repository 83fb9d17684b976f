"""Features of a frozen encoder, standardised."""

import torch

from dpmix.models.features import Featurizer
from tests.training.conftest import as_images, blocks, draw


def test_features_are_standardised_by_public_data_alone() -> None:
    public = as_images(draw(40, 5))
    featurize = Featurizer.standardized(blocks, public, "cpu")
    features = featurize.of(public, "cpu")
    assert torch.equal(features[:, -1], torch.ones(40))
    torch.testing.assert_close(features[:, :-1].mean(dim=0), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(features[:, :-1].square().sum(dim=1).mean(), torch.tensor(39 / 40), atol=1e-3, rtol=0)
