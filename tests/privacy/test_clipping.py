"""The clipped sum: every backend against a loop over examples and views."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.backend_choice import BACKENDS
from dpmix.privacy.clipping import (
    ClippedSum,
    clipped_sum,
    zero_sum,
)
from dpmix.privacy.loss import ExampleLoss
from dpmix.privacy.modes import AutoS, Flat, PerLayer
from tests.privacy.architectures import batch, flat, image_networks, naive_clipped_sum, parameters, text_networks
from tests.tolerances import gamma

networks = st.one_of(image_networks(), text_networks())
every_backend = pytest.mark.parametrize("backend", BACKENDS)
# Float32 beside exact arithmetic, relative to a gradient's length: sums of no more than 50 products (a kernel of 18, an
# image of 49 pixels), and normalising a nearly constant group, which divides by sqrt(eps) = 1 / 316 at least.
NORMALISED = gamma(50) / 1e-5**0.5
RULED = ("sequential", "vectorized", "ghost", "reference")


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> bool:
    """Whether the distance is small relative to what is expected."""
    return float((found.double() - expected.double()).norm()) <= tolerance * float(expected.double().norm()) + 1e-12


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


def data(n: int, k: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.rand(n, k, 1, 4, 4, generator=generator),
        torch.softmax(torch.randn(n, k, 3, generator=generator), dim=-1),
    )


@given(networks, st.integers(1, 4), st.integers(1, 4), st.integers(0, 999), st.sampled_from([0.05, 0.3, 1.0, 1e4]))
@settings(max_examples=35)
def test_backends_agree_with_a_loop_over_views(network, n, k, seed, clip_norm):
    module, image = network
    views, targets = batch(module, image, n, k, seed)
    params = parameters(module)
    expected, norms = naive_clipped_sum(module, params, views, targets, clip_norm)
    for backend in RULED:
        result = clipped_sum(ExampleLoss(module), params, views, targets, clip_norm, backend=backend)
        assert result.total.keys() == params.keys()
        assert all(result.total[name].shape == value.shape for name, value in params.items())
        assert all(value.dtype == torch.float32 for value in result.total.values())
        assert result.sensitivity == clip_norm
        assert close(flat(result.total), flat(expected), NORMALISED), backend
        assert close(result.norms, norms, NORMALISED), backend
    first, *others = (
        clipped_sum(ExampleLoss(module), params, views, targets, clip_norm, backend=backend) for backend in RULED
    )
    # Of what is added up: where examples cancel, their sum has fewer digits.
    added = float(norms.clamp(max=clip_norm).sum())
    for other in others:
        assert float((flat(other.total) - flat(first.total)).norm()) <= 2 * NORMALISED * added


modes = st.sampled_from([Flat(), AutoS(), PerLayer()])


@given(networks, st.integers(1, 5), st.integers(1, 6), st.integers(0, 9999), st.sampled_from([0.05, 1.0, 1e4]), modes)
@settings(max_examples=40)
def test_backends_compute_the_same(network, n, k, seed, clip_norm, mode):
    """Parameters and images in float64, so that all but the sum is exact enough to compare at 1e-5 throughout."""
    module, image = network
    views, targets = batch(module, image, n, k, seed)
    module = module.double()
    views = views.double() if image.is_floating_point() else views
    params = parameters(module)
    first, *others = (
        clipped_sum(ExampleLoss(module), params, views, targets.double(), clip_norm, backend=backend, mode=mode)
        for backend in RULED
    )
    for other in others:
        assert close(flat(other.total), flat(first.total), 1e-5)
        assert close(other.norms, first.norms, 1e-6)
    if mode == Flat():
        expected, norms = naive_clipped_sum(module, params, views, targets, clip_norm)
        assert close(flat(first.total), flat(expected), 1e-5)
        assert close(first.norms, norms, 1e-6)


@given(networks, st.integers(2, 5), st.integers(1, 3), st.integers(0, 999), st.sampled_from(RULED), st.data())
@settings(max_examples=40)
def test_one_example_moves_the_sum_by_at_most_c(network, n, k, seed, backend, data):
    module, image = network
    views, targets = batch(module, image, n, k, seed)
    params, clip_norm = parameters(module), 0.1
    loss = ExampleLoss(module)
    removed = data.draw(st.integers(0, n - 1))
    kept = [index for index in range(n) if index != removed]
    if image.is_floating_point():
        views[removed] *= data.draw(st.sampled_from([0.0, 1.0, 1e3, 1e18, float("inf"), float("nan")]))
    whole = clipped_sum(loss, params, views, targets, clip_norm, backend=backend)
    rest = clipped_sum(loss, params, views[kept], targets[kept], clip_norm, backend=backend)
    alone = clipped_sum(loss, params, views[[removed]], targets[[removed]], clip_norm, backend=backend)
    moved = flat(whole.total) - flat(rest.total)
    assert float(moved.norm()) <= clip_norm * (1 + 1e-5)
    assert float(flat(alone.total).norm()) <= clip_norm * (1 + 1e-5)
    assert float((moved - flat(alone.total)).norm()) <= 1e-5 * n * clip_norm
    assert torch.isfinite(flat(whole.total)).all()


@given(st.integers(0, 6), st.integers(1, 4), st.sampled_from(RULED))
@settings(max_examples=30)
def test_physical_batches_add_up(n, size, backend):
    module = small()
    params, loss = parameters(module), ExampleLoss(module)
    views, targets = data(n, 3)
    whole = clipped_sum(loss, params, views, targets, 0.5, backend=backend)
    parts = zero_sum(params, 0.5)
    for start in range(0, n, size):
        part = slice(start, start + size)
        parts += clipped_sum(loss, params, views[part], targets[part], 0.5, backend=backend)
    assert close(flat(parts.total), flat(whole.total))
    assert close(parts.norms, whole.norms)
    assert parts.sensitivity == 0.5


@every_backend
def test_a_mean_of_views_and_not_of_clipped_views(backend):
    # Two views that pull opposite ways: their mean is short, although each of them is long.
    module = nn.Linear(1, 2, bias=False)
    params = {"weight": torch.zeros(2, 1)}
    views, targets = torch.full((1, 2, 1), 100.0), torch.tensor([[[1.0, 0], [0, 1.0]]])
    result = clipped_sum(ExampleLoss(module), params, views, targets, 1.0, backend=backend)
    assert float(result.norms) == pytest.approx(0, abs=1e-4)
    assert float(flat(result.total).norm()) == pytest.approx(0, abs=1e-4)
    views[0, 1] = 90
    result = clipped_sum(ExampleLoss(module), params, views, targets, 10.0, backend=backend)
    assert float(result.norms) == pytest.approx(2.5 * 2**0.5, rel=1e-4)


@every_backend
def test_no_examples(backend):
    module = small()
    result = clipped_sum(ExampleLoss(module), parameters(module), *data(0, 3), 0.5, backend=backend)
    assert not flat(result.total).any()
    assert result.norms.shape == (0,)


@every_backend
def test_zero_gradients(backend):
    module = small()
    views, _ = data(2, 2)
    result = clipped_sum(ExampleLoss(module), parameters(module), views, torch.zeros(2, 2, 3), 1e-3, backend=backend)
    assert not flat(result.total).any()
    assert result.norms.tolist() == [0, 0]


@every_backend
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_damaged_example_contributes_nothing(backend, value):
    module = small()
    params, loss = parameters(module), ExampleLoss(module)
    views, targets = data(3, 2)
    expected = clipped_sum(loss, params, views[[0, 2]], targets[[0, 2]], 0.5, backend="reference")
    views[1, 1, 0, 2, 2] = value
    result = clipped_sum(loss, params, views, targets, 0.5, backend=backend)
    assert not torch.isfinite(result.norms[1])
    assert close(flat(result.total), flat(expected.total))
    views[:] = value
    assert not flat(clipped_sum(loss, params, views, targets, 0.5, backend=backend).total).any()


@every_backend
@pytest.mark.parametrize("value", [0.0, 1.0, 255.0, 1e6, 1e18, 1e38])
def test_extreme_images_are_bounded(backend, value):
    module = small()
    views, targets = data(1, 2)
    views[:] = value
    result = clipped_sum(ExampleLoss(module), parameters(module), views, targets, 0.01, backend=backend)
    assert torch.isfinite(flat(result.total)).all()
    assert float(flat(result.total).norm()) <= 0.01 * (1 + 1e-5)


# A norm is the root of a float32, so that it cannot exceed 2**64.
@given(st.lists(st.floats(0, 2.0**64, width=32), min_size=1, max_size=6), st.floats(1e-6, 1e6))
def test_the_factors_of_flat_clipping(norms, clip_norm):
    norms = torch.tensor(norms)
    factors = Flat().scale(norms, clip_norm)
    assert ((factors >= 0) & (factors <= 1)).all()
    assert (factors * norms <= clip_norm * (1 + 1e-6)).all()
    assert (factors[norms <= clip_norm * 0.999] == 1).all()


def test_the_factors_of_what_is_not_finite():
    assert Flat().scale(torch.tensor([float("nan"), float("inf"), 0.0]), 1.0).tolist() == [0, 0, 1]


@every_backend
def test_some_parameters_only(backend):
    module = small()
    params = parameters(module)
    chosen = {"4.weight": params["4.weight"], "1.bias": params["1.bias"]}
    result = clipped_sum(ExampleLoss(module), chosen, *data(3, 2), 1e4, backend=backend)
    whole = clipped_sum(ExampleLoss(module), params, *data(3, 2), 1e4, backend="reference")
    assert result.total.keys() == chosen.keys()
    assert all(close(result.total[name], whole.total[name]) for name in chosen)


@every_backend
def test_parameters_are_those_given_and_stay_as_they_are(backend):
    module = small()
    own = parameters(module)
    params = {name: value + 0.1 for name, value in own.items()}
    kept = {name: value.clone() for name, value in params.items()}
    views, targets = data(2, 2)
    before = views.clone()
    result = clipped_sum(ExampleLoss(module), params, views, targets, 0.5, backend=backend)
    expected, _ = naive_clipped_sum(module, params, views, targets, 0.5)
    assert close(flat(result.total), flat(expected), 1e-4)
    assert torch.equal(flat(params), flat(kept))
    assert torch.equal(flat(parameters(module)), flat(own))
    assert all(value.grad is None for value in module.parameters())
    assert torch.equal(views, before)
    assert not any(value.requires_grad for value in result.total.values())
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in module.modules())


@every_backend
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float64])
def test_sums_are_float32(backend, precision):
    module = nn.Linear(4, 3).to(precision)
    views, targets = torch.rand(3, 2, 4).to(precision), torch.full((3, 2, 3), 1 / 3)
    params = parameters(module)
    result = clipped_sum(ExampleLoss(module), params, views, targets, 1e-3, backend=backend)
    assert result.total["weight"].dtype == result.norms.dtype == torch.float32
    # The norm is that of what is added, so that low precision cannot exceed C.
    alone = clipped_sum(ExampleLoss(module), params, views[:1], targets[:1], 1e-3, backend=backend)
    assert float(flat(alone.total).norm()) <= 1e-3 * (1 + 1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backend": "fast"}, "unknown backend 'fast'"),
        ({"clip_norm": 0.0}, "clip norm must be positive"),
        ({"clip_norm": float("nan")}, "clip norm must be positive"),
        ({"targets": torch.ones(2, 3, 3)}, "differ in"),
        ({"views": torch.ones(2, 0, 1, 4, 4), "targets": torch.ones(2, 0, 3)}, "K = 0 views; give each example"),
    ],
)
def test_bad_arguments(options, words):
    module = small()
    views, targets = data(2, 2)
    given_ = {"views": views, "targets": targets, "clip_norm": 1.0, **options}
    with pytest.raises(ValueError, match=words):
        clipped_sum(ExampleLoss(module), parameters(module), **given_)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "flat"}, "'flat' is no clipping mode; give an instance"),
        ({"mode": Flat}, "is no clipping mode; give an instance"),
        ({"params": {"0.wieght": torch.ones(4, 1, 3, 3)}}, "no parameter '0.wieght'; did you mean '0.weight'"),
        ({"params": {}}, "there are no parameters; give those to train"),
    ],
)
def test_what_is_no_mode_or_parameter_is_named(options, words):
    module = small()
    views, targets = data(2, 2)
    given_ = {"params": parameters(module), "views": views, "targets": targets, "clip_norm": 1.0, **options}
    with pytest.raises(ParamsError, match=words) as raised:
        clipped_sum(ExampleLoss(module), **given_)
    assert "\n" not in str(raised.value)


@every_backend
@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(4),
        nn.BatchNorm2d(4, affine=False),
        nn.BatchNorm2d(4, track_running_stats=False).eval(),
        nn.InstanceNorm2d(4, track_running_stats=True),
    ],
    ids=["batch norm", "without weights", "eval without statistics", "instance norm that keeps statistics"],
)
def test_what_mixes_examples_is_refused(backend, layer):
    module = nn.Sequential(nn.Conv2d(1, 4, 3), layer, nn.Flatten(), nn.Linear(16, 3))
    with pytest.raises(PrivacyError, match=r"^1 uses or keeps statistics"):
        clipped_sum(ExampleLoss(module), parameters(module), *data(2, 2), 1.0, backend=backend)


class Temperature(nn.Module):
    """One parameter without a dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.temperature = nn.Linear(4, 3), nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * self.temperature


@pytest.mark.parametrize("mode", [Flat(), AutoS(), PerLayer()], ids=["flat", "AUTO-S", "per layer"])
def test_a_parameter_without_a_dimension(mode):
    module = Temperature()
    views, targets = torch.rand(3, 2, 4), torch.softmax(torch.randn(3, 2, 3), dim=2)
    found = [
        clipped_sum(ExampleLoss(module), parameters(module), views, targets, 0.1, backend=backend, mode=mode)
        for backend in ("auto", "sequential", "reference")
    ]
    assert found[0].total["temperature"].shape == ()
    assert float(found[0].total["temperature"]) != 0
    assert all(close(flat(one.total), flat(found[0].total)) for one in found)


def test_sums_add_up():
    one = ClippedSum({"w": torch.ones(2)}, torch.tensor([1.0]), 0.5)
    two = one + ClippedSum({"w": torch.ones(2)}, torch.tensor([2.0, 3.0]), 0.5)
    assert two.total["w"].tolist() == [2, 2]
    assert two.norms.tolist() == [1, 2, 3]
    assert one.total["w"].tolist() == [1, 1]


@pytest.mark.parametrize("backend", RULED)
def test_a_sum_is_laid_out_as_others_expect_it(backend: str) -> None:
    """Sequential clipping computes with channels last; processes that add up their sums need plain tensors."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 25, 2))
    params = {name: value.detach() for name, value in module.named_parameters()}
    views, targets = torch.rand(2, 3, 3, 5, 5), torch.full((2, 3, 2), 0.5)
    found = clipped_sum(ExampleLoss(module), params, views, targets, 1.0, backend=backend)
    assert all(value.is_contiguous() for value in found.total.values())
    assert all(params[name].is_contiguous() for name in params)
