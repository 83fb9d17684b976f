"""Random networks of every kind of layer that has a per-example rule, and what a loop over examples gives for them."""

from collections.abc import Mapping

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

CHANNELS, SIDE, WORDS, LENGTH = 2, 7, 6, 5


class Shared(nn.Module):
    """One layer called twice."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(torch.tanh(self.inner(x)))


class Tied(nn.Module):
    """Words in, scores of the same words out, with one matrix for both."""

    def __init__(self, words: int, width: int, padding_idx: int | None) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width, padding_idx=padding_idx)
        self.scores = nn.Linear(width, words)
        self.scores.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(torch.tanh(self.words(x))).mean(dim=1)


class Pool(nn.Module):
    """The mean over all positions: [m, channels, ...] -> [m, channels]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).mean(dim=2)


class Tokens(nn.Module):
    """[m, channels, H, W] -> [m, H W, channels]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)


class MeanToken(nn.Module):
    """[m, T, channels] -> [m, channels]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=1)


class Picture(nn.Module):
    """[m, T, channels] -> [m, 1, T, channels]."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, None]


@st.composite
def image_networks(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """A module for images [m, 2, 7, 7] with three outputs, and an example image."""
    layers: list[nn.Module] = []
    channels, side = CHANNELS, SIDE
    for _ in range(draw(st.integers(1, 3))):
        groups = draw(st.sampled_from([one for one in (1, 2) if channels % one == 0]))
        outputs = groups * draw(st.sampled_from([1, 2, 3]))
        kernel, dilation, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
        padding = draw(st.sampled_from([0, 1, 2, (1, 0), "same", "valid"]))
        if padding == "same":
            stride = 1
        bias = draw(st.booleans())
        layer = nn.Conv2d(channels, outputs, kernel, stride, padding, dilation, groups, bias)
        with torch.no_grad():
            try:
                reached = layer(torch.zeros(1, channels, side, side)).shape[-1]
                if layer(torch.zeros(1, channels, side, side)).shape[-2] != reached:
                    continue
            except RuntimeError:
                continue  # the kernel does not fit any more
        layers.append(layer)
        channels, side = outputs, reached
        kind = draw(st.sampled_from(["none", "group", "shared"]))
        if kind == "group" and side > 1:  # one number has no variance
            layers.append(nn.GroupNorm(draw(st.sampled_from([1, channels])), channels, affine=draw(st.booleans())))
        elif kind == "shared":
            layers.append(Shared(nn.Conv2d(channels, channels, 3, padding=1, bias=bias)))
        # In place, as most published networks have it.
        layers.append(draw(st.sampled_from([nn.ReLU(inplace=True), nn.Tanh(), nn.SiLU(inplace=True)])))
    if draw(st.booleans()):
        layers += [Pool()]
    else:
        layers += [Tokens(), nn.LayerNorm(channels, bias=draw(st.booleans())), nn.Linear(channels, channels)]
        layers += [nn.GELU(), MeanToken()]
    layers.append(nn.Linear(channels, 3, bias=draw(st.booleans())))
    return nn.Sequential(*layers), torch.zeros(CHANNELS, SIDE, SIDE)


@st.composite
def text_networks(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """A module for words int64 [m, 5], and an example."""
    padding_idx = draw(st.sampled_from([None, 0]))
    if draw(st.booleans()):
        return Tied(WORDS, 4, padding_idx), torch.zeros(LENGTH, dtype=torch.int64)
    layers: list[nn.Module] = [nn.Embedding(WORDS, 4, padding_idx=padding_idx)]
    if draw(st.booleans()):
        channels = draw(st.sampled_from([2, 4]))
        layers += [Picture(), nn.Conv2d(1, channels, 3, padding=1), nn.GroupNorm(2, channels), nn.SiLU(inplace=True)]
        layers += [Tokens(), nn.LayerNorm(channels), nn.Linear(channels, 4)]
        return nn.Sequential(*layers, nn.Tanh(), MeanToken(), nn.Linear(4, 3)), torch.zeros(LENGTH, dtype=torch.int64)
    if draw(st.booleans()):
        layers.append(nn.LayerNorm((LENGTH, 4) if draw(st.booleans()) else 4))
    if draw(st.booleans()):
        layers.append(Shared(nn.Linear(4, 4)))
    layers += [nn.Tanh(), MeanToken(), nn.Linear(4, 3)]
    return nn.Sequential(*layers), torch.zeros(LENGTH, dtype=torch.int64)


def parameters(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def batch(module: nn.Module, image: Tensor, n: int, k: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random views [n, k, ...] and soft targets, and random weights for the module."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.5)
        classes = module(image[None]).shape[-1]
    if image.dtype == torch.int64:
        views = torch.randint(0, WORDS, (n, k, *image.shape), generator=generator)
    else:
        views = torch.rand(n, k, *image.shape, generator=generator)
    targets = torch.softmax(3 * torch.randn(n, k, classes, generator=generator), dim=-1)
    return views, targets


def naive(module: nn.Module, params: Mapping[str, Tensor], views: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Per-example gradients [n, *shape] in float64, by one backward pass for each view of each example."""
    rows: dict[str, list[Tensor]] = {name: [] for name in params}
    for example, labels in zip(views, targets, strict=True):
        leaves = {name: value.double().requires_grad_() for name, value in params.items()}
        loss = torch.zeros((), dtype=torch.float64)
        for view, label in zip(example, labels, strict=True):
            view = view[None].double() if view.is_floating_point() else view[None]
            outputs = functional_call(module, leaves, (view,))
            loss = loss - (label.double() * torch.log_softmax(outputs[0], dim=0)).sum() / len(example)
        gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
            rows[name].append(torch.zeros_like(leaf) if gradient is None else gradient)
    return {name: torch.stack(values) for name, values in rows.items()}


def naive_clipped_sum(
    module: nn.Module, params: Mapping[str, Tensor], views: Tensor, targets: Tensor, clip_norm: float
) -> tuple[dict[str, Tensor], Tensor]:
    """The clipped sum of `naive`, and the norms before clipping."""
    rows = naive(module, params, views, targets)
    total = {name: torch.zeros_like(value[0]) for name, value in rows.items()}
    norms = []
    for index in range(len(views)):
        squares = sum(float(value[index].square().sum()) for value in rows.values())
        norms.append(squares**0.5)
        for name, value in rows.items():
            total[name] += value[index] * min(1.0, clip_norm / max(norms[-1], 1e-300))
    return total, torch.tensor(norms, dtype=torch.float64)


def flat(tensors: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([value.double().flatten() for value in tensors.values()])
