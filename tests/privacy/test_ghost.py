import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dpmix.errors import ParamsError
from dpmix.privacy import ghost
from dpmix.privacy.backend_choice import choose_backend, explain_backend
from dpmix.privacy.clipping import clipped_sum
from dpmix.privacy.loss import ExampleLoss
from dpmix.privacy.modes import AutoS, Clipping, Flat, PerLayer, Scaling
from tests.privacy import checks
from tests.privacy.architectures import Shared, Tied, batch, flat, image_networks, naive, parameters, text_networks


def exact(module: nn.Module, image: Tensor, n: int, k: int, seed: int) -> tuple[ExampleLoss, dict, Tensor, Tensor]:
    """A problem in float64, so that results can be compared at 1e-5 and better."""
    views, targets = batch(module, image, n, k, seed)
    module = module.double()
    return ExampleLoss(module), parameters(module), views.double() if views.is_floating_point() else views, targets


def off(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm().clamp_min(1e-12))


LAYERS = [
    nn.Conv2d(4, 6, 3),
    nn.Conv2d(4, 6, (2, 3), stride=(2, 1), padding=(0, 2), dilation=(2, 1), groups=2, bias=False),
    nn.Conv2d(4, 4, 2, padding="same"),
    nn.Conv2d(4, 4, 4, padding="same", dilation=2, groups=4),
    nn.Conv2d(4, 4, 3, stride=3, padding=2),
    nn.Conv2d(4, 3, 1, stride=(2, 3), bias=False),
    nn.Linear(6, 5),
    nn.Linear(6, 1, bias=False),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_norms_from_gram_matrices(layer: nn.Module) -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), layer, nn.Flatten())
    loss, params, views, targets = exact(module, torch.zeros(1, 8, 8), n=3, k=2, seed=0)
    x = module[:2](views.flatten(0, 1)).detach()
    y = module[2](x)
    (gradient,) = torch.autograd.grad(loss.criterion(module[3](y), targets.flatten(0, 1)) * 3, y)
    inputs, outputs = ghost.GRAMS[type(layer)](module[2], x.unflatten(0, (3, 2)), gradient.unflatten(0, (3, 2)))
    expected = naive(module, params, views, targets)["2.weight"].flatten(1).square().sum(dim=1)
    assert torch.allclose((inputs * outputs).reshape(3, -1).sum(dim=1), expected, rtol=1e-6)


@pytest.mark.parametrize("padding_idx", [None, 0])
def test_norms_of_an_embedding(padding_idx: int | None) -> None:
    layer, words = nn.Embedding(6, 4, padding_idx=padding_idx), torch.tensor([[[0, 1, 1], [2, 0, 1]]])
    gradient = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    inputs, outputs = ghost.GRAMS[nn.Embedding](layer, words, gradient)
    (layer(words) * gradient).sum().backward()
    assert float((inputs * outputs).sum()) == pytest.approx(float(layer.weight.grad.square().sum()), rel=1e-5)


def test_the_rule() -> None:
    # 4 x 3 numbers and fewer than 2 T^2: T counts the positions of all K views.
    assert ghost.gram_pays(nn.Linear(9, 2), torch.zeros(7, 3, 2))
    assert not ghost.gram_pays(nn.Linear(9, 2), torch.zeros(7, 2, 2, 2))
    # A group has 2 T^2 numbers of its own, T being 2 views of 2 x 2.
    assert ghost.gram_pays(nn.Conv2d(8, 8, 2), torch.zeros(1, 2, 8, 2, 2))
    assert not ghost.gram_pays(nn.Conv2d(8, 8, 2, groups=4), torch.zeros(1, 2, 8, 2, 2))
    assert ghost.gram_pays(nn.Embedding(10, 5), torch.zeros(1, 1, 5, 5))
    assert not ghost.gram_pays(nn.Embedding(10, 4), torch.zeros(1, 1, 5, 4))


@given(
    st.one_of(image_networks(), text_networks()), st.integers(1, 4), st.integers(1, 4), st.integers(0, 999),
    st.sampled_from([Flat(), AutoS(), PerLayer()]), st.sampled_from([0.05, 1.0]),
)  # fmt: skip
@settings(max_examples=40)
def test_the_rule_changes_no_result(network, n, k, seed, mode: Scaling, clip_norm: float) -> None:
    """A fault in its threshold would cost time alone."""
    loss, params, views, targets = exact(*network, n, k, seed)
    expected = clipped_sum(loss, params, views, targets, clip_norm, backend="reference", mode=mode)
    for rule in (ghost.gram_pays, lambda *_: True, lambda *_: False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ghost, "gram_pays", rule)
            found = clipped_sum(loss, params, views, targets, clip_norm, backend="ghost", mode=mode)
        assert off(flat(found.total), flat(expected.total)) <= 1e-5
        assert off(found.norms, expected.norms) <= 1e-6


def test_both_ways_are_taken() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 40), nn.Tanh(), nn.Linear(40, 3))
    loss, params, views, targets = exact(module, torch.zeros(1, 8, 8), n=2, k=2, seed=0)
    ways, rule = {}, ghost.gram_pays

    def noted(layer: nn.Module, gradient: Tensor) -> bool:
        ways[layer] = rule(layer, gradient)
        return ways[layer]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ghost, "gram_pays", noted)
        clipped_sum(loss, params, views, targets, 1.0, backend="ghost")
    assert [ways[module[index]] for index in (0, 2, 4)] == [False, True, True]


def test_views_that_cancel() -> None:
    """Two views whose gradients differ in their last bits: in float64 Gram matrices lose three digits of the norm."""
    n, d, p, step = 4, 4096, 8, 2.0**-22
    x = 0.5 + torch.randint(0, 2**22, (n, d), generator=torch.Generator().manual_seed(0)) * 2.0**-24
    views, signs = torch.stack([x, x + step], dim=1), torch.tensor([1.0, -1.0])[None, :, None].expand(n, 2, p)
    module = nn.Linear(d, p, bias=False)
    loss = ExampleLoss(module, lambda outputs, targets: (outputs * targets).sum(dim=1).mean())
    parts = [
        clipped_sum(loss, parameters(module), view[None], sign[None], 1e-9, backend="ghost")
        for view, sign in zip(views, signs, strict=True)
    ]
    assert ghost.gram_pays(module, signs)
    # Products with powers of two are exact, and so is the difference: a step in each of d x p numbers, over K = 2.
    for found in parts:
        assert float(found.norms) == pytest.approx(step * (d * p) ** 0.5 / 2, rel=1e-6)
        assert float(flat(found.total).norm()) <= 1e-9 * (1 + 1e-6)


def test_an_example_that_one_layer_leaves_out_is_left_out_of_all() -> None:
    module = nn.Sequential(nn.Linear(40, 30), nn.Tanh(), nn.Linear(30, 3))
    loss, params, views, targets = exact(module, torch.zeros(40), n=3, k=2, seed=0)

    def factors(squares: Tensor) -> Tensor:
        one = torch.ones_like(squares)
        one[2, 1] = 0.0
        return one

    found, _ = ghost.ghost_sum(loss, params, views, targets, "float32", factors)
    expected, _ = ghost.ghost_sum(loss, params, views[::2], targets[::2], "float32", torch.ones_like)
    assert ghost.gram_pays(module[0], torch.zeros(3, 2, 30))
    assert off(flat(found), flat(expected)) <= 1e-6


class Dropped(nn.Module):
    """A layer called twice, of which one call does not reach the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.inner(torch.cos(x))
        return self.last(self.inner(x))


@pytest.mark.parametrize(
    ("module", "image"),
    [
        (Tied(6, 4, None), torch.zeros(5, dtype=torch.int64)),
        (nn.Sequential(Shared(nn.Linear(4, 4)), nn.Tanh(), nn.Linear(4, 3)), torch.zeros(4)),
        (nn.Sequential(Shared(nn.Conv2d(2, 2, 3, padding=1)), nn.Flatten(), nn.Linear(50, 3)), torch.zeros(2, 5, 5)),
        (Dropped(), torch.zeros(4)),
    ],
    ids=["words in and out", "a linear layer twice", "a convolution twice", "a call that is dropped"],
)
def test_a_weight_with_several_uses(module: nn.Module, image: Tensor) -> None:
    """Its norm is that of the sum over uses, and not of the uses one by one."""
    loss, params, views, targets = exact(module, image, n=3, k=2, seed=0)
    rows = naive(module, params, views, targets)
    norms = sum(value.flatten(1).square().sum(dim=1) for value in rows.values()).sqrt()
    found = clipped_sum(loss, params, views, targets, 1e4, backend="ghost")
    assert off(found.norms, norms) <= 1e-6
    assert off(flat(found.total), flat({name: value.sum(dim=0) for name, value in rows.items()})) <= 1e-6


class Rounded(Clipping):
    """No factor of a norm."""

    def clip(self, rows, clip_norm):
        return {name: row.clamp(-1e-3, 1e-3) for name, row in Flat().clip(rows, clip_norm).items()}


def wide() -> tuple[nn.Module, Tensor, Tensor]:
    module = nn.Sequential(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 10))
    return module, torch.rand(2, 4, 512), torch.softmax(torch.randn(2, 4, 10), dim=2)


def test_a_mode_that_does_not_scale_is_refused() -> None:
    module, views, targets = wide()
    with pytest.raises(ParamsError, match=r"^Rounded does not scale gradients, .* set the backend to auto$"):
        clipped_sum(ExampleLoss(module), parameters(module), views, targets, 0.1, backend="ghost", mode=Rounded())
    assert choose_backend(module, views, Rounded()) == "vectorized"
    found = clipped_sum(ExampleLoss(module), parameters(module), views, targets, 0.1, mode=Rounded())
    assert float(flat(found.total).abs().max()) <= 2e-3 * (1 + 1e-6)


def test_when_it_is_chosen() -> None:
    module, views, _ = wide()
    reason = "ghost: an example has only 2.1e+06 multiply-adds for 5.4e+05 weights, at most 16 each"
    assert explain_backend(module, views) == reason
    assert choose_backend(module, torch.rand(2, 17, 512)) == "vectorized"  # 17 uses of each weight
    assert choose_backend(nn.Linear(512, 10), views) == "vectorized"  # so few weights that calls cost more
    assert choose_backend(module.requires_grad_(False), views) == "vectorized"


def test_a_layer_without_a_rule_is_named() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.PReLU(), nn.Linear(4, 3))
    with pytest.raises(ParamsError, match=r"^no per-example rule for 1; set the backend to auto or reference$"):
        clipped_sum(
            ExampleLoss(module), parameters(module), torch.rand(2, 2, 4), torch.rand(2, 2, 3), 1.0, backend="ghost"
        )


def test_nothing_is_left_behind_after_an_error() -> None:
    module = checks.small_network()
    views, targets = checks.small_batch(2, 2)

    def broken(squares: Tensor) -> Tensor:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        ghost.ghost_sum(ExampleLoss(module), parameters(module), views, targets, "float32", broken)
    assert not any(layer._forward_hooks or "forward" in vars(layer) for layer in module.modules())


MEMORY = """
import sys
import torch
from torch import nn
from benchmarks.measure import memory_of
from dpmix.privacy.clipping import clipped_sum
from dpmix.privacy.loss import ExampleLoss

# Millions of weights: four layers that are used at one position, and six at 64.
middle = [nn.Unflatten(1, (64, 64)), *(layer for _ in range(3) for layer in (nn.Linear(64, 4096), nn.Linear(4096, 64)))]
module = nn.Sequential(*[nn.Linear(1024, 1024) for _ in range(3)], nn.Linear(1024, 4096), *middle, nn.Flatten())
params = {name: value.detach() for name, value in module.named_parameters()}
views, targets = torch.rand(16, 1, 1024), torch.rand(16, 1, 4096)
clipped_sum(ExampleLoss(module), params, views[:1], targets[:1], 1.0, backend=sys.argv[1])
print(memory_of(lambda: clipped_sum(ExampleLoss(module), params, views, targets, 1.0, backend=sys.argv[1])))
print(sum(value.numel() for value in params.values()) * 16 * 4 / 2**20)
"""


@pytest.mark.slow
def test_memory_does_not_hold_the_gradients_of_a_network(repository) -> None:
    ours, all_rows = (float(line) for line in _memory("ghost", repository))
    others, _ = (float(line) for line in _memory("vectorized", repository))
    assert others > all_rows  # or the bound below would say nothing
    assert ours < all_rows / 2


def _memory(backend: str, repository) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, backend], capture_output=True, text=True, check=True, cwd=repository
    )
    return done.stdout.split()
