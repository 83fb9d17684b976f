from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from dpmix.models.networks import build_network
from dpmix.models.wide_resnet import WideResNet
from dpmix.params.models import ModelSpec, WideResNetSpec


def spec() -> WideResNetSpec:
    return WideResNetSpec(
        kind="wide-resnet", name="wrn", label="WRN", depth=10, width=1, groups=2, base_channels=4, resolution=8
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "stride"), [(8, 1), (16, 2), (9, 1)])
@pytest.mark.parametrize(
    "network",
    [
        {"kind": "wide-resnet", "depth": 10, "width": 2, "groups": 4, "base_channels": 4},
        {"kind": "resnet", "depth": 8, "groups": 2, "base_channels": 4},
    ],
    ids=lambda network: network["kind"],
)
def test_shapes(network: dict[str, Any], size: int, stride: int, channels: int) -> None:
    read = TypeAdapter(ModelSpec).validate_python(
        {**network, "name": "net", "label": "Net", "resolution": size, "stem_stride": stride}
    )
    assert build_network(read, channels, 5, seed=0)(torch.rand(3, channels, size, size)).shape == (3, 5)


def test_the_seed_alone_decides() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build_network(spec(), 1, 3, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = build_network(spec(), 1, 3, seed=4), build_network(spec(), 1, 3, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_what_the_params_say_is_what_is_built() -> None:
    read = TypeAdapter(ModelSpec).validate_json(spec().model_dump_json())
    assert read == spec()
    assert type(build_network(read, 1, 3, seed=0)) is WideResNet
    with pytest.raises(ValidationError, match="wide-resnet"):
        TypeAdapter(ModelSpec).validate_python({**spec().model_dump(), "kind": "wide-resent"})
