import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dpmix.errors import ParamsError, PrivacyError
from dpmix.params.registries import CLIPPING_MODES, registered
from dpmix.privacy.backend_choice import BACKENDS
from dpmix.privacy.clipping import clipped_sum, zero_sum
from dpmix.privacy.linear_heads import append_one, head_clipped_sum
from dpmix.privacy.loss import ExampleLoss
from dpmix.privacy.modes import AutoS, Clipping, Flat, PerLayer, layer_bounds, layer_of, mode_sensitivity
from tests.privacy import checks
from tests.privacy.architectures import batch, flat, image_networks, naive, parameters, text_networks
from tests.tolerances import gamma

CLIPPING = {name: registered(CLIPPING_MODES, name)() for name in CLIPPING_MODES}
RULED = ("sequential", "vectorized", "ghost", "reference")
# Ghost clipping takes modes that scale, and refuses others (tests/privacy/test_ghost.py).
any_mode = pytest.mark.parametrize("backend", [backend for backend in BACKENDS if backend != "ghost"])
every_backend = pytest.mark.parametrize("backend", BACKENDS)
every_mode = pytest.mark.parametrize("mode", [pytest.param(mode, id=name) for name, mode in checks.MODES.items()])
modes = st.one_of(st.sampled_from(list(CLIPPING.values())), st.builds(AutoS, gamma=st.floats(1e-4, 1e3)))


@pytest.mark.parametrize("case", [checks.SCRATCH, checks.MICROBATCHES_ADDED], ids=["examples", "microbatches"])
@pytest.mark.parametrize("mode", [AutoS(), PerLayer()], ids=["AUTO-S", "per layer"])
def test_one_record_moves_the_sum_by_at_most_its_sensitivity(mode, case):
    checks.check_mode_sensitivity(mode, case)


@every_mode
@every_backend
def test_the_sum_is_what_the_mode_defines(mode, backend):
    checks.check_mode_sum(mode, backend)


@every_backend
def test_layers_with_bounds_of_their_own(backend):
    checks.check_mode_sum(PerLayer({"0": 0.3, "1": 0.2, "3": 0.9, "5": 0.5}), backend)


@given(
    st.one_of(image_networks(), text_networks()), st.integers(1, 4), st.integers(1, 3), st.integers(0, 999),
    st.sampled_from(RULED), modes, st.sampled_from([1e-3, 0.1, 10.0]), st.data(),
)  # fmt: skip
@settings(max_examples=60)
def test_any_example_under_any_mode(network, n, k, seed, backend, mode, clip_norm, data):
    module, image = network
    views, targets = batch(module, image, n, k, seed)
    params, loss = parameters(module), ExampleLoss(module)
    removed = data.draw(st.integers(0, n - 1))
    kept = [index for index in range(n) if index != removed]
    if image.is_floating_point():
        views[removed] *= data.draw(st.sampled_from([0.0, 1.0, 1e3, 1e18, float("inf"), float("nan")]))
    options = {"backend": backend, "mode": mode}
    whole = clipped_sum(loss, params, views, targets, clip_norm, **options)
    rest = clipped_sum(loss, params, views[kept], targets[kept], clip_norm, **options)
    alone = clipped_sum(loss, params, views[[removed]], targets[[removed]], clip_norm, **options)
    assert whole.sensitivity == rest.sensitivity == alone.sensitivity <= clip_norm
    assert float(flat(alone.total).norm()) <= alone.sensitivity * (1 + 1e-6)
    moved = flat(whole.total) - flat(rest.total)
    assert float((moved - flat(alone.total)).norm()) <= 1e-5 * n * clip_norm
    assert torch.isfinite(flat(whole.total)).all()


@every_mode
@pytest.mark.parametrize("backend", RULED)
@pytest.mark.parametrize("value", [0.0, 1.0, 255.0, 1e18, 1e38, math.inf, -math.inf, math.nan], ids=str)
def test_unusual_batches_and_images(mode, backend, value):
    module = checks.small_network()
    for n, k in [(0, 3), (1, 1), (1, 3), (3, 1)]:
        views, targets = checks.small_batch(n, k)
        views *= value
        found = clipped_sum(ExampleLoss(module), parameters(module), views, targets, 0.01, backend=backend, mode=mode)
        assert found.norms.shape == (n,)
        assert found.sensitivity == 0.01
        length = float(flat(found.total).norm())
        assert length <= n * 0.01 * (1 + 1e-6)  # and so it is finite
        if not math.isfinite(value):
            assert length == 0
        elif value <= 255:
            assert (length > 0) == (n > 0)


@every_mode
@pytest.mark.parametrize("backend", RULED)
def test_a_gradient_of_zero(mode, backend):
    module = checks.small_network()
    views, targets = checks.small_batch(2, 2)
    found = clipped_sum(ExampleLoss(module), parameters(module), views, 0 * targets, 1.0, backend=backend, mode=mode)
    assert not flat(found.total).any()
    assert found.norms.tolist() == [0, 0]


@pytest.mark.parametrize("backend", RULED)
def test_one_layer_that_is_not_finite_takes_the_others_with_it(backend):
    # The input of the second layer overflows and its output does not reach the loss: one layer's gradient is 0 * inf.
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sound, self.odd = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x):
            return self.sound(x) + 0 * self.odd(x * 1e30 * 1e30).clamp(-1, 1).nan_to_num(0)

    module = Odd()
    views, targets = torch.rand(2, 2, 3), torch.full((2, 2, 2), 0.5)
    views[1] = 0
    targets[0, :, 0] = 0.8
    found = clipped_sum(ExampleLoss(module), parameters(module), views, targets, 1.0, backend=backend, mode=PerLayer())
    assert not torch.isfinite(found.norms[0])
    expected = clipped_sum(
        ExampleLoss(module), parameters(module), views[1:], targets[1:], 1.0, backend=backend, mode=PerLayer()
    )
    assert torch.equal(flat(found.total), flat(expected.total))


def test_one_layer_is_clipped_flat():
    norms = torch.tensor([0.0, 0.1, 1.0, 20.0, float("inf"), float("nan")])
    assert torch.equal(PerLayer().scale(norms, 0.5), Flat().scale(norms, 0.5))
    layer, views, targets = nn.Linear(4, 3), torch.rand(3, 2, 4), torch.softmax(torch.randn(3, 2, 3), dim=2)
    one, other = (
        clipped_sum(ExampleLoss(layer), parameters(layer), views, targets, 0.3, mode=mode)
        for mode in (Flat(), PerLayer())
    )
    # Of what is added up: three gradients of at most 0.3, which may cancel.
    assert float((flat(one.total) - flat(other.total)).norm()) <= 3 * 0.3 * 1e-6


def test_factors_for_several_clip_norms():
    norms = torch.rand(3, 5) * 4
    factors = Flat().scale(norms, torch.tensor([[0.5], [1.0], [2.0]]))
    for row, found, clip_norm in zip(norms, factors, (0.5, 1.0, 2.0), strict=True):
        assert torch.equal(found, Flat().scale(row, clip_norm))


@given(st.lists(st.floats(0, 2.0**64, width=32), min_size=1, max_size=6), st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_auto_s_factors(norms, clip_norm, gamma):
    norms = torch.tensor(norms)
    factors = AutoS(gamma).scale(norms, clip_norm)
    assert (factors * norms <= clip_norm * (1 + 1e-6)).all()
    assert torch.allclose(factors.double(), clip_norm / (norms.double() + gamma), rtol=1e-6)


def test_auto_s_factors_of_what_is_not_finite():
    assert AutoS(0.5).scale(torch.tensor([float("nan"), float("inf"), 0.0]), 1.0).tolist() == [0, 0, 2]


def test_auto_s_does_without_a_clip_norm_that_fits():
    # C only scales the sum: what is learnt with learning rate / C is the same.
    module = checks.small_network()
    n = 3
    views, targets = checks.small_batch(n, 2)
    one, other = (
        flat(clipped_sum(ExampleLoss(module), parameters(module), views, targets, c, mode=AutoS()).total) / c
        for c in (1e-3, 1e3)
    )
    # Of terms that are shorter than 1 each: the factor takes three roundings (C, ||g|| + γ, the quotient), its product
    # with the gradient one, and their sum n.
    assert float((one - other).norm()) <= 2 * gamma(n + 4) * n**0.5
    assert float(one.norm()) > 0.1


def test_a_layer_is_its_weight_and_its_bias():
    names = ["stem.weight", "stem.bias", "blocks.0.norm1.weight", "blocks.0.norm1.bias", "scale"]
    assert [layer_of(name) for name in names] == ["stem", "stem", "blocks.0.norm1", "blocks.0.norm1", ""]
    bounds = layer_bounds(PerLayer(), names, 3.0)
    assert bounds == dict.fromkeys(["stem", "blocks.0.norm1", ""], pytest.approx(3 / 3**0.5))


def test_sensitivities():
    names = ["a.weight", "a.bias", "b.weight"]
    assert [mode_sensitivity(mode, names, 0.7) for mode in CLIPPING.values()] == [0.7] * 4
    assert mode_sensitivity(PerLayer({"a": 0.3, "b": 0.4}), names, 0.7) == pytest.approx(0.5)
    # Rounding of the root of the sum of squares does not carry the sensitivity beyond C.
    assert mode_sensitivity(PerLayer({"a": 0.1, "b": 0.1}), names, math.hypot(0.1, 0.1)) <= math.hypot(0.1, 0.1)
    params = {name: torch.ones(1) for name in names}
    assert zero_sum(params, 0.7, PerLayer({"a": 0.3, "b": 0.4})).sensitivity == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("bounds", "error", "words"),
    [
        ({"a": 0.5}, ParamsError, "must name every trained layer and no other; see 'b'"),
        ({"a": 0.5, "b": 0.5, "c": 0.1}, ParamsError, "see 'c'"),
        ({"a": 0.5, "b": 0.0}, ParamsError, "are not all above 0 and finite"),
        ({"a": 0.5, "b": float("nan")}, ParamsError, "are not all above 0 and finite"),
        ({"a": 3.0, "b": 4.0}, PrivacyError, r"amount to 5 .* more than the clip norm 1 .* scale them by 0\.2$"),
    ],
)
@pytest.mark.parametrize("n", [0, 2])
def test_bounds_that_do_not_fit(bounds, error, words, n):
    module = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    with pytest.raises(error, match=words):
        clipped_sum(
            ExampleLoss(module),
            parameters(module),
            torch.rand(n, 1, 2),
            torch.ones(n, 1, 2),
            1.0,
            mode=PerLayer(bounds),
        )


@pytest.mark.parametrize("gamma", [0.0, -1.0, float("nan"), float("inf")])
def test_auto_s_needs_gamma(gamma):
    with pytest.raises(ParamsError, match="positive gamma"):
        AutoS(gamma)


@dataclass(frozen=True)
class Truncated(Clipping):
    """Shortened to C, then each coordinate cut to [-c, c]: no factor of the norm. A `slack` breaks its promise."""

    coordinate: float = 0.02
    slack: float = 1.0

    def clip(self, rows, clip_norm):
        shortened, most = Flat().clip(rows, clip_norm), self.coordinate
        return {name: (self.slack * row).clamp(-most, most) for name, row in shortened.items()}


@any_mode
def test_a_mode_that_is_no_factor(backend):
    module, clip_norm, damaged = checks.small_network(), 0.3, 2
    views, targets = checks.small_batch(5, 2)
    rows = naive(module, parameters(module), views, targets)
    kept = [index for index in range(5) if index != damaged]
    expected = torch.zeros_like(flat({name: row[0] for name, row in rows.items()}))
    for index in kept:
        gradient = flat({name: row[index] for name, row in rows.items()})
        shortened = gradient * min(1.0, clip_norm / float(gradient.norm()))
        assert 0 < int((shortened.abs() > 0.02).sum()) < len(shortened)
        expected += shortened.clamp(-0.02, 0.02)
    views[damaged, 0, 0, 3, 3] = torch.nan
    found = clipped_sum(
        ExampleLoss(module), parameters(module), views, targets, clip_norm, backend=backend, mode=Truncated()
    )
    assert float((flat(found.total) - expected).norm()) <= 1e-5 * float(expected.norm())
    assert found.sensitivity == clip_norm
    assert torch.isfinite(found.norms).tolist() == [index != damaged for index in range(5)]


@pytest.mark.parametrize("head", [0, 1])
def test_heads_under_a_mode_that_is_no_factor(head):
    torch.manual_seed(0)
    features, targets = append_one(torch.rand(4, 3, 5)), torch.softmax(torch.randn(4, 3, 2), dim=2)
    features[1, 0, 0] = torch.nan
    weights, clip_norms = torch.randn(2, 2, 6), torch.tensor([0.3, 1.0])
    totals, norms = head_clipped_sum(features, targets, weights, clip_norms, mode=Truncated())
    expected, lengths = torch.zeros(2, 6, dtype=torch.float64), []
    for index in (0, 2, 3):
        x, y = features[index].double(), targets[index].double()
        gradient = (torch.softmax(x @ weights[head].double().T, dim=1) - y).T @ x / 3
        lengths.append(float(gradient.norm()))
        expected += (gradient * min(1.0, float(clip_norms[head]) / lengths[-1])).clamp(-0.02, 0.02)
    assert norms[head, [0, 2, 3]].tolist() == pytest.approx(lengths, rel=1e-5)
    assert not torch.isfinite(norms[head, 1])
    assert torch.allclose(totals[head].double(), expected, rtol=1e-5, atol=1e-7)


@any_mode
def test_a_mode_that_lets_more_through_than_it_says_is_refused(backend):
    module = checks.small_network()
    views, targets = checks.small_batch(3, 2)
    broken = Truncated(coordinate=1e9, slack=1.01)
    with pytest.raises(PrivacyError, match=r"Truncated lets a gradient through .* sensitivity 0\.01"):
        clipped_sum(ExampleLoss(module), parameters(module), views, targets, 0.01, backend=backend, mode=broken)


def test_a_mode_more_sensitive_than_the_noise_covers_is_refused():
    class Doubled(Truncated):
        def sensitivity(self, names, clip_norm):
            return 2 * clip_norm

    module = checks.small_network()
    views, targets = checks.small_batch(1, 1)
    with pytest.raises(PrivacyError, match=r"Doubled has sensitivity 0\.2, more than the clip norm 0\.1"):
        clipped_sum(ExampleLoss(module), parameters(module), views, targets, 0.1, mode=Doubled())


@every_mode
def test_clip_of_a_factor_mode_is_what_the_sum_adds(mode):
    module = checks.small_network()
    views, targets = checks.small_batch(1, 2)
    rows = {name: row.float() for name, row in naive(module, parameters(module), views, targets).items()}
    found = clipped_sum(ExampleLoss(module), parameters(module), views, targets, 0.1, mode=mode)
    assert torch.allclose(flat(mode.clip(rows, 0.1)), flat(found.total), rtol=1e-4, atol=1e-7)
