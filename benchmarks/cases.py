"""What is measured: one step on the same images by each implementation, as a function that can be called again.

Every case takes n examples with K views each, a WRN-16-4 at 32 x 32 and float32, and computes what its name says. The
step is the gradient work; sampling, views and the update are the same for all and left out.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dpmix.models.wide_resnet import wide_resnet
from dpmix.params import WideResNetSpec
from dpmix.privacy.clipping import ExampleLoss, clipped_sum, soft_cross_entropy, zero_sum
from dpmix.privacy.head import append_one, head_clipped_sum

Step = Callable[[], object]

CLASSES = 10
CLIP_NORM = 1.0


def network() -> nn.Module:
    spec = WideResNetSpec(kind="wide-resnet", name="wrn-16-4", label="WRN-16-4", depth=16, width=4)
    return wide_resnet(spec, channels=3, classes=CLASSES, seed=0)


def examples(n: int, k: int) -> tuple[Tensor, Tensor]:
    keyed = torch.Generator().manual_seed(0)
    views = torch.rand(n, k, 3, 32, 32, generator=keyed)
    return views, torch.softmax(torch.randn(n, k, CLASSES, generator=keyed), dim=-1)


def non_private(n: int, k: int, physical: int) -> Step:
    """The mean gradient over the n K images, `physical` of them at a time."""
    module = network()
    params = list(module.parameters())
    views, targets = examples(n, k)
    images, labels = views.flatten(0, 1), targets.flatten(0, 1)

    def step() -> object:
        total = [torch.zeros_like(value) for value in params]
        for x, y in zip(images.split(physical), labels.split(physical), strict=True):
            gradients = torch.autograd.grad(soft_cross_entropy(module(x), y), params)
            for value, gradient in zip(total, gradients, strict=True):
                value += gradient * (len(x) / len(images))
        return total

    return step


def clipped(n: int, k: int, backend: str, physical: int) -> Step:
    """This package's clipped sum, `physical` examples at a time."""
    loss = ExampleLoss(network())
    params = {name: value.detach() for name, value in loss.module.named_parameters()}
    views, targets = examples(n, k)

    def step() -> object:
        total = zero_sum(params, CLIP_NORM)
        for x, y in zip(views.split(physical), targets.split(physical), strict=True):
            total += clipped_sum(loss, params, x, y, CLIP_NORM, backend=backend)
        return total

    return step


def opacus(n: int, k: int) -> Step:
    """Opacus's GradSampleModule on all n K images, then the mean over K, the clipping and the sum by hand."""
    from opacus import GradSampleModule

    module = GradSampleModule(network(), loss_reduction="mean")
    views, targets = examples(n, k)

    def step() -> object:
        module.zero_grad()
        soft_cross_entropy(module(views.flatten(0, 1)), targets.flatten(0, 1)).backward()
        rows = [p.grad_sample.view(n, k, *p.shape).mean(dim=1) for p in module.parameters()]
        norms = torch.stack([row.flatten(1).square().sum(dim=1) for row in rows]).sum(dim=0).sqrt()
        factors = (CLIP_NORM / norms).clamp(max=1.0)
        total = [torch.tensordot(factors, row, dims=1) for row in rows]
        module.zero_grad()
        return total

    return step


def heads(count: int, n: int, k: int, d: int, classes: int, physical: int) -> Step:
    """`count` linear heads in closed form."""
    keyed = torch.Generator().manual_seed(0)
    features = append_one(torch.randn(n, k, d, generator=keyed) / d**0.5)
    targets = torch.softmax(torch.randn(n, k, classes, generator=keyed), dim=-1)
    weights = torch.randn(count, classes, d + 1, generator=keyed) / d**0.5
    clip_norms = torch.full((count,), CLIP_NORM)

    def step() -> object:
        total = torch.zeros_like(weights)
        for x, y in zip(features.split(physical), targets.split(physical), strict=True):
            total += head_clipped_sum(x, y, weights, clip_norms)[0]
        return total

    return step


def one_head_materialised(n: int, k: int, d: int, classes: int, physical: int) -> Step:
    """One linear head through its n per-example gradients of classes x d numbers each."""
    keyed = torch.Generator().manual_seed(0)
    features = append_one(torch.randn(n, k, d, generator=keyed) / d**0.5)
    targets = torch.softmax(torch.randn(n, k, classes, generator=keyed), dim=-1)
    weights = torch.randn(classes, d + 1, generator=keyed) / d**0.5

    def step() -> object:
        total = torch.zeros_like(weights)
        for x, y in zip(features.split(physical), targets.split(physical), strict=True):
            residuals = torch.softmax(x @ weights.T, dim=-1) - y
            rows = torch.bmm(residuals.transpose(1, 2), x) / k
            factors = (CLIP_NORM / rows.flatten(1).norm(dim=1)).clamp(max=1.0)
            total += torch.tensordot(factors, rows, dims=1)
        return total

    return step
