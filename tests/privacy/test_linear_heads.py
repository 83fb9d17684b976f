"""The closed form of linear heads against autograd, at any size, in any order."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dpmix.privacy import linear_heads
from dpmix.privacy.clipping import clipped_sum
from dpmix.privacy.linear_heads import append_one, head_clipped_sum, head_magnitudes, head_residuals, view_factor
from dpmix.privacy.loss import ExampleLoss
from tests.tolerances import head_rounding


def problem(n: int, k: int, d: int, classes: int, heads: int, seed: int, spread: float = 1.0):
    """Features whose views differ by `spread` of their length, soft targets and weights."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(n, 1, d, generator=generator)
    features = append_one(centre + spread * torch.randn(n, k, d, generator=generator))
    targets = torch.softmax(4 * torch.randn(n, k, classes, generator=generator), dim=-1)
    weights = torch.randn(heads, classes, d + 1, generator=generator)
    return features, targets, weights


def same(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], *inputs: Tensor) -> bool:
    """Whether two computations of `head_clipped_sum(*inputs)`, sums and norms, differ by no more than rounding."""
    bound = head_rounding(*inputs)
    apart = (found[0].double() - expected[0].double()).flatten(1).norm(dim=1)
    return bool((apart <= 2 * bound.totals).all() and ((found[1] - expected[1]).abs() <= 2 * bound.norms).all())


def exact(features: Tensor, residuals: Tensor) -> Tensor:
    """||1/K sum_k r_k f_k^T||, float64 [n, H]."""
    gradients = torch.einsum("nkhc,nkd->nhcd", residuals.double(), features.double()) / features.shape[1]
    return gradients.flatten(2).norm(dim=2)


def gram_norms(factor: Tensor, residuals: Tensor, out: Tensor) -> Tensor:
    """The norms by the sum over both Gram matrices, as ghost clipping has it: float32 [n, H]."""
    gram = torch.einsum("nkhc,nlhc->nhkl", residuals, residuals) * (factor.transpose(1, 2) @ factor)[:, None]
    return gram.sum(dim=(2, 3)).clamp_min(0).sqrt() / factor.shape[1]


def opposed(k: int, spread: float, n: int = 20, d: int = 768, classes: int = 20):
    """Features that are alike, and residuals of one head that are alike but for their sign: [n, K, d], [n, K, 1, c]."""
    generator = torch.Generator().manual_seed(k)
    features = torch.randn(n, 1, d, generator=generator) + spread * torch.randn(n, k, d, generator=generator)
    sign = torch.where(torch.arange(k) % 2 == 0, 1.0, -1.0)[:, None]
    residuals = sign * torch.randn(n, 1, classes, generator=generator)
    return features, (residuals + spread * torch.randn(n, k, classes, generator=generator))[:, :, None]


@given(
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(1, 40),
    st.integers(2, 8),
    st.integers(1, 3),
    st.integers(0, 9999),
    st.sampled_from([0.0, 0.1, 1.0]),
)
@settings(max_examples=80)
def test_the_closed_form_is_the_clipped_sum_of_a_linear_layer(n, k, d, classes, heads, seed, spread):
    features, targets, weights = problem(n, k, d, classes, heads, seed, spread)
    clip_norms = torch.logspace(-1, 1, heads)
    totals, norms = head_clipped_sum(features, targets, weights, clip_norms)
    assert totals.shape == weights.shape
    assert norms.shape == (heads, n)
    for total, weight, clip_norm, lengths in zip(totals, weights, clip_norms, norms, strict=True):
        # The layer's own bias takes the place of the constant feature.
        layer = nn.Linear(d, classes)
        params = {"weight": weight[:, :-1], "bias": weight[:, -1]}
        expected = clipped_sum(
            ExampleLoss(layer), params, features[..., :-1], targets, float(clip_norm), backend="reference"
        )
        whole = torch.cat([expected.total["weight"], expected.total["bias"][:, None]], dim=1)
        assert float((total - whole).norm()) <= 1e-5 * max(float(whole.norm()), float(clip_norm))
        assert torch.allclose(lengths, expected.norms, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spread", [1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 0.0])
@pytest.mark.parametrize("k", [2, 16, 48])
def test_views_that_cancel_are_not_underestimated(k, spread):
    features, residuals = opposed(k, spread)
    true = exact(features, residuals)
    found = linear_heads._norms(view_factor(features), residuals, torch.empty_like(residuals)).double()
    # What cancels below float32's rounding of the summands has no norm left to speak of.
    summand = float(residuals.norm(dim=3).max() * features.norm(dim=2).max())
    assert (found >= true * (1 - 1e-4) - 1e-7 * summand).all()
    assert (found <= true * (1 + 1e-4) + 5e-7 * summand).all()


def test_by_gram_matrices_they_would_be(monkeypatch):
    monkeypatch.setattr(linear_heads, "_norms", gram_norms)
    with pytest.raises(AssertionError):
        test_views_that_cancel_are_not_underestimated(48, 1e-4)


@given(st.integers(1, 12), st.integers(1, 20), st.sampled_from([0.0, 1e-9, 1e-3, 1.0]), st.integers(0, 999))
@settings(max_examples=60)
def test_the_factor_bounds_the_gram_matrix(k, d, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = (3, k, d)
    features = torch.randn(3, 1, d, generator=generator) + spread * torch.randn(shape, generator=generator)
    features = features.double() * torch.tensor([1.0, 1e-6, 1e15])[:, None, None]
    factor = view_factor(features)
    assert torch.equal(factor, factor.triu())
    gram = features @ features.transpose(1, 2)
    size = gram.diagonal(dim1=1, dim2=2).sum(dim=1)
    extra = torch.linalg.eigvalsh(factor.transpose(1, 2) @ factor - gram) / size[:, None]
    # In float64 what was added, (d + K) ulp, is seen through ulps of the same size.
    assert (extra >= -(k + 1) * 2.3e-16).all()
    assert (extra <= 2 * (d + k + 1) * 2.3e-16).all()


def test_the_factor_of_nothing_is_nothing():
    assert not view_factor(torch.zeros(2, 3, 4)).any()
    assert torch.isnan(view_factor(torch.full((1, 2, 3), torch.nan))).any()


@pytest.mark.parametrize("cancelled", [100, 1000])
@pytest.mark.parametrize("clip_norm", [1e-5, 1e-4])
def test_examples_whose_views_cancel_move_the_sum_by_at_most_c(cancelled, clip_norm):
    k, classes = 36, 20
    features, targets, weights = problem(4, k, 768, classes, 2, seed=1, spread=1 / cancelled)
    # With no weights the residuals are 1/c - y: labels on both sides of it, in turns, take each other out.
    weights[1] = 0
    tilt = torch.linspace(-1, 1, classes) / classes
    targets[1:] = 1 / classes + torch.where(torch.arange(k) % 2 == 0, 1.0, -1.0)[:, None] * tilt
    clip_norms = torch.tensor([clip_norm, clip_norm])
    residuals = head_residuals(features, targets, weights)
    apart = residuals[1:, :, 1].norm(dim=2) * features[1:].norm(dim=2)
    assert (exact(features, residuals)[1:, 1] < 2 * apart.mean(dim=1) / cancelled).all()
    whole, _ = head_clipped_sum(features, targets, weights, clip_norms)
    for removed in range(4):
        kept = [index for index in range(4) if index != removed]
        rest, _ = head_clipped_sum(features[kept], targets[kept], weights, clip_norms)
        alone, norms = head_clipped_sum(features[[removed]], targets[[removed]], weights, clip_norms)
        assert (norms > clip_norm).all()
        assert ((whole - rest).double().flatten(1).norm(dim=1) <= clip_norm * (1 + 1e-5)).all()
        assert (alone.double().flatten(1).norm(dim=1) <= clip_norm * (1 + 1e-5)).all()


@given(st.integers(0, 999), st.sampled_from([1e-4, 1e-2, 1.0]), st.sampled_from([1e-3, 1.0, 50.0]), st.integers(0, 4))
@settings(max_examples=40)
def test_one_example_moves_each_sum_by_at_most_c(seed, spread, clip_norm, removed):
    features, targets, weights = problem(5, 4, 64, 6, 2, seed, spread)
    # Labels that contradict each other make the views cancel.
    targets[removed] = torch.eye(6)[torch.arange(4) % 2]
    clip_norms = torch.tensor([clip_norm, clip_norm / 3])
    kept = [index for index in range(5) if index != removed]
    whole, norms = head_clipped_sum(features, targets, weights, clip_norms)
    rest, others = head_clipped_sum(features[kept], targets[kept], weights, clip_norms)
    moved = (whole - rest).flatten(1).norm(dim=1)
    assert (moved <= clip_norms * (1 + 1e-4)).all()
    assert torch.allclose(norms[:, kept], others, rtol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_a_damaged_example_contributes_nothing(value):
    features, targets, weights = problem(4, 3, 10, 3, 2, seed=0)
    clip_norms = torch.tensor([0.1, 10.0])
    kept = [0, 1, 3]
    inputs = (features[kept], targets[kept], weights, clip_norms)
    expected = head_clipped_sum(*inputs)
    features[2, 1, 4] = value
    found, norms = head_clipped_sum(features, targets, weights, clip_norms)
    assert not torch.isfinite(norms[:, 2]).any()
    assert same((found, norms[:, kept]), expected, *inputs)


def test_damaged_labels_contribute_nothing():
    features, targets, weights = problem(3, 2, 10, 3, 1, seed=0)
    inputs = (features[[0, 2]], targets[[0, 2]], weights, torch.tensor([1.0]))
    targets[1, 0, 0] = torch.nan
    found, norms = head_clipped_sum(features, targets, weights, torch.tensor([1.0]))
    assert same((found, norms[:, [0, 2]]), head_clipped_sum(*inputs), *inputs)


@given(st.floats(-20, 20), st.sampled_from([0.01, 1.0]))
def test_features_of_any_size_stay_bounded(power, clip_norm):
    features, targets, weights = problem(1, 3, 8, 3, 1, seed=1)
    found, _ = head_clipped_sum(features * 10.0**power, targets, weights, torch.tensor([clip_norm]))
    assert torch.isfinite(found).all()
    assert float(found.norm()) <= clip_norm * (1 + 1e-4)


def test_empty_and_single():
    features, targets, weights = problem(0, 3, 10, 4, 2, seed=0)
    totals, norms = head_clipped_sum(features, targets, weights, torch.ones(2))
    assert totals.shape == weights.shape
    assert not totals.any()
    assert norms.shape == (2, 0)
    features, targets, weights = problem(1, 1, 1, 2, 1, seed=0)
    totals, norms = head_clipped_sum(features, targets, weights, torch.tensor([0.1]))
    assert float(totals.norm()) == pytest.approx(min(0.1, float(norms)), rel=1e-5)


def test_a_perfect_prediction_has_no_gradient():
    features, weights = append_one(torch.zeros(2, 3, 4)), torch.zeros(1, 2, 5)
    totals, norms = head_clipped_sum(features, torch.full((2, 3, 2), 0.5), weights, torch.tensor([1.0]))
    assert not totals.any()
    assert not norms.any()


def test_heads_do_not_see_each_other():
    features, targets, weights = problem(4, 3, 10, 3, 3, seed=2)
    clip_norms = torch.tensor([0.1, 1.0, 10.0])
    together, norms = head_clipped_sum(features, targets, weights, clip_norms)
    for index in range(3):
        part = slice(index, index + 1)
        alone, own = head_clipped_sum(features, targets, weights[part], clip_norms[part])
        assert same((alone, own), (together[part], norms[part]), features, targets, weights[part], clip_norms[part])


def test_many_heads_are_as_many_single_runs():
    features, targets, weights = problem(9, 7, 200, 11, 32, seed=5)
    clip_norms = torch.logspace(-1, 2, 32)
    together, norms = head_clipped_sum(features, targets, weights, clip_norms)
    for index in range(32):
        part = slice(index, index + 1)
        alone, own = head_clipped_sum(features, targets, weights[part], clip_norms[part])
        assert same((alone, own), (together[part], norms[part]), features, targets, weights[part], clip_norms[part])


def test_the_same_bits_again():
    features, targets, weights = problem(30, 7, 200, 11, 3, seed=6)
    clip_norms = torch.tensor([0.1, 1.0, 10.0])
    first, again = (head_clipped_sum(features, targets, weights, clip_norms) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


def test_the_bits_do_not_depend_on_the_precision_that_is_allowed():
    features, targets, weights = problem(30, 7, 200, 11, 3, seed=6)
    clip_norms = torch.tensor([0.1, 1.0, 10.0])
    expected = head_clipped_sum(features, targets, weights, clip_norms)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        found = head_clipped_sum(features, targets, weights, clip_norms)
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize(("numbers", "outputs"), [(1, 1), (300, 3), (4000, 7), (1 << 20, 1 << 10)])
def test_blocks_do_not_matter(monkeypatch, numbers, outputs):
    features, targets, weights = problem(7, 5, 40, 3, 4, seed=7)
    kept = [index for index in range(7) if index != 4]
    inputs = (features[kept], targets[kept], weights, clip_norms := torch.tensor([0.1, 1.0, 10.0, 100.0]))
    features[4, 2, 1] = torch.nan
    expected, lengths = head_clipped_sum(features, targets, weights, clip_norms)
    monkeypatch.setitem(linear_heads._NUMBERS, "cpu", numbers)
    monkeypatch.setitem(linear_heads._OUTPUTS, "cpu", outputs)
    found, norms = head_clipped_sum(features, targets, weights, clip_norms)
    assert same((found, norms[:, kept]), (expected, lengths[:, kept]), *inputs)
    assert torch.isnan(norms[:, 4]).all()
    assert torch.isnan(lengths[:, 4]).all()


@given(*[st.integers(1, 2000)] * 5, st.sampled_from(["cpu", "cuda"]))
def test_blocks_are_small(n, k, d, heads, classes, device):
    together, examples = linear_heads._block(n, k, d, heads, classes, device)
    assert 1 <= together <= heads
    assert 1 <= examples <= n
    assert examples == 1 or examples * k * max(d, together * classes) <= linear_heads._NUMBERS[device]


def test_physical_batches_add_up():
    features, targets, weights = problem(7, 3, 10, 3, 2, seed=3)
    clip_norms = torch.tensor([0.5, 5.0])
    whole, norms = head_clipped_sum(features, targets, weights, clip_norms)
    parts = [head_clipped_sum(features[at], targets[at], weights, clip_norms) for at in (slice(0, 3), slice(3, 7))]
    added = (parts[0][0] + parts[1][0], torch.cat([parts[0][1], parts[1][1]], dim=1))
    assert same(added, (whole, norms), features, targets, weights, clip_norms)


def test_residuals_are_the_gradient_in_the_logits():
    features, targets, weights = problem(2, 3, 5, 4, 2, seed=4)
    logits = torch.einsum("nkd,hcd->nkhc", features, weights).requires_grad_()
    (-(targets[:, :, None] * torch.log_softmax(logits, dim=-1)).sum()).backward()
    assert torch.allclose(head_residuals(features, targets, weights), logits.grad, atol=1e-6)


def test_magnitudes():
    features, targets, weights = problem(3, 2, 5, 4, 1, seed=5)
    residuals = head_residuals(features, targets, weights)[:, :, 0]
    rows = torch.einsum("nkc,nkd->ncd", residuals, features) / 2
    assert torch.allclose(head_magnitudes(features, targets, weights[0]), rows.abs().sum(dim=0), rtol=1e-5, atol=1e-6)
