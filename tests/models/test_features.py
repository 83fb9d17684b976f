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


def test_public_photographs_standardise_too() -> None:
    """Their own features then have mean 0 and norm 1 in the median, and nothing else was given that could be read."""
    from dpmix.models.encoder import Encoder
    from dpmix.models.photographs import crops

    encoder = Encoder(torch.nn.Flatten(), resolution=8, mean=(0.5,) * 3, std=(0.25,) * 3)
    featurize = Featurizer.standardized_by_photographs(encoder)
    features = featurize(crops(8))
    torch.testing.assert_close(features[:, :-1].mean(dim=0), torch.zeros(192), atol=1e-5, rtol=0)
    torch.testing.assert_close(features[:, :-1].norm(dim=1).quantile(0.5), torch.tensor(1.0), atol=1e-5, rtol=0)
    told = featurize.standardization()
    assert len(set(told["scale"].tolist())) == 1
