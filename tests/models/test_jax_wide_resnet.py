from typing import Any

import numpy as np
import pytest
import torch

from dpmix.models.networks import build_network
from dpmix.params.models import WideResNetSpec
from dpmix.params.registries import registered
from tests.needs import JAX_PRIVACY, module

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "plain": {},
    "two blocks a stage": {"depth": 16},
    "wide": {"width": 3, "groups": 2},
    "stem of stride 2": {"stem_stride": 2},
    "one group": {"groups": 1, "base_channels": 6},
}


def spec(**changes: Any) -> WideResNetSpec:
    tiny = {"depth": 10, "width": 1, "groups": 4, "base_channels": 4, "resolution": 8}
    return WideResNetSpec(kind="wide-resnet", name="wrn", label="WRN", **{**tiny, **changes})


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize("changes", ARCHITECTURES.values(), ids=list(ARCHITECTURES))
def test_it_is_the_torch_network(changes: dict[str, Any], side: int, channels: int) -> None:
    module("jax", JAX_PRIVACY)
    network = spec(**changes)
    model = build_network(network, channels, 5, seed=0)
    keyed = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():  # else norms have weight one and bias zero
            value += 0.2 * torch.randn(value.shape, generator=keyed)
        images = torch.rand(3, channels, side, side, generator=keyed)
        expected = model(images).numpy()
    params = {name: value.detach().numpy() for name, value in model.named_parameters()}
    found = np.asarray(registered({"here": str(network.jax_logits)}, "here")(network, params, images.numpy()))
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
