"""What is measured: one step on the same images by each implementation, as a function that can be called again.

A step is the gradient work; sampling, views and the update are the same for all and left out. It returns what it
computed, so that a test can tell that those who claim the same compute the same.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from typing_extensions import override

from dpmix.errors import DpmixError
from dpmix.models.networks import build_network
from dpmix.params.models import WideResNetSpec
from dpmix.privacy.clipping import clipped_sum, zero_sum
from dpmix.privacy.linear_heads import append_one, head_clipped_sum
from dpmix.privacy.loss import ExampleLoss, soft_cross_entropy
from dpmix.privacy.precision import autocast

Step = Callable[[], dict[str, Tensor]]

CLIP_NORM = 1.0

OPAKE = "'opake-dpsgd>=0.16.1,<0.17'"


class NotInstalled(DpmixError):
    """A library that is compared with is not there."""


@dataclass(frozen=True)
class Problem:
    """A wide residual network and n examples of K views each. By default a WRN-16-4 at 32 x 32 on the processor."""

    n: int
    k: int
    depth: int = 16
    width: int = 4
    resolution: int = 32
    classes: int = 10
    device: str = "cpu"
    precision: str = "float32"
    memory_format: torch.memory_format = torch.contiguous_format

    def spec(self) -> WideResNetSpec:
        """Of the network."""
        return WideResNetSpec(
            kind="wide-resnet",
            name="benchmark",
            label="benchmark",
            depth=self.depth,
            width=self.width,
            resolution=self.resolution,
        )

    def network(self) -> nn.Module:
        """The same initial weights every time."""
        module = build_network(self.spec(), channels=3, classes=self.classes, seed=0)
        return module.to(device=self.device, memory_format=self.memory_format)

    def examples(self) -> tuple[Tensor, Tensor]:
        """Views [n, K, 3, R, R] and soft targets [n, K, classes]."""
        keyed = torch.Generator().manual_seed(0)
        views = torch.rand(self.n, self.k, 3, self.resolution, self.resolution, generator=keyed)
        targets = torch.softmax(torch.randn(self.n, self.k, self.classes, generator=keyed), dim=-1)
        return views.to(self.device), targets.to(self.device)


@dataclass(frozen=True)
class Dense(Problem):
    """Linear layers of equal width, whose weights are used once for each view."""

    depth: int = 3
    width: int = 1024

    @override
    def network(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            hidden = (part for _ in range(self.depth) for part in (nn.Linear(self.width, self.width), nn.ReLU()))
            return nn.Sequential(*hidden, nn.Linear(self.width, self.classes)).to(self.device)

    @override
    def examples(self) -> tuple[Tensor, Tensor]:
        keyed = torch.Generator().manual_seed(0)
        views = torch.randn(self.n, self.k, self.width, generator=keyed)
        targets = torch.softmax(torch.randn(self.n, self.k, self.classes, generator=keyed), dim=-1)
        return views.to(self.device), targets.to(self.device)


def non_private(problem: Problem, physical: int) -> Step:
    """The mean gradient over the n K images, `physical` images at a time."""
    module = problem.network()
    names, params = zip(*module.named_parameters(), strict=True)
    views, targets = problem.examples()
    images, labels = views.flatten(0, 1), targets.flatten(0, 1)

    def step() -> dict[str, Tensor]:
        total = [torch.zeros_like(value) for value in params]
        for x, y in zip(images.split(physical), labels.split(physical), strict=True):
            with autocast(problem.precision, problem.device):
                logits = module(x)
            loss = soft_cross_entropy(logits, y) * (len(x) / len(images))
            for value, gradient in zip(total, torch.autograd.grad(loss, params), strict=True):
                value += gradient
        return dict(zip(names, total, strict=True))

    return step


def clipped(problem: Problem, backend: str, physical: int) -> Step:
    """This package's clipped sum, `physical` examples at a time."""
    loss = ExampleLoss(problem.network())
    params = {name: value.detach() for name, value in loss.module.named_parameters()}
    views, targets = problem.examples()

    def step() -> dict[str, Tensor]:
        total = zero_sum(params, CLIP_NORM)
        for x, y in zip(views.split(physical), targets.split(physical), strict=True):
            total += clipped_sum(loss, params, x, y, CLIP_NORM, backend=backend, precision=problem.precision)
        return total.total

    return step


def jax_privacy(problem: Problem, together: int = 1) -> Step:
    """The clipped sum of `engine: jax`: compiled at the first call, so that it is timed after warming up.

    `together` gradients exist at the same time.
    """
    import numpy as np

    from dpmix.training.jax_network import clipped_gradients
    from dpmix.training.jax_start import start

    device = start(problem.device)
    import jax

    module = problem.network()
    names = [name for name, _ in module.named_parameters()]
    compute = clipped_gradients(problem.spec(), CLIP_NORM, together)
    given = {name: value.detach() for name, value in module.named_parameters()}, *problem.examples()
    params, views, targets, no_padding = jax.device_put(
        (*jax.tree.map(lambda tensor: tensor.cpu().numpy(), given), np.zeros(problem.n, dtype=bool)), device
    )

    def step() -> dict[str, Tensor]:
        with jax.default_device(device):
            total, _ = compute(params, views, targets, is_padding_example=no_padding)
        return {name: torch.from_numpy(np.array(total[name])) for name in names}

    return step


def opacus(problem: Problem) -> Step:
    """Opacus's GradSampleModule on all n K images, then the mean over K, the clipping and the sum by hand."""
    from opacus import GradSampleModule

    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    module = GradSampleModule(problem.network(), loss_reduction="mean")
    names = [name.removeprefix("_module.") for name, _ in module.named_parameters()]
    views, targets = problem.examples()

    def step() -> dict[str, Tensor]:
        module.zero_grad()
        soft_cross_entropy(module(views.flatten(0, 1)), targets.flatten(0, 1)).backward()
        rows = [p.grad_sample.view(problem.n, problem.k, *p.shape).mean(dim=1) for p in module.parameters()]
        module.zero_grad()
        return dict(zip(names, _clip_by_hand(rows), strict=True))

    return step


def opacus_ghost(problem: Problem) -> Step:
    """Opacus's ghost clipping (`grad_sample_mode="ghost"`), whose norms are those of single images: K = 1."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping

    if problem.k != 1:
        raise DpmixError("Opacus's ghost clipping has no mean over views; measure it with one view")
    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    module = GradSampleModuleFastGradientClipping(problem.network(), max_grad_norm=CLIP_NORM)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.0)
    views, targets = (one.flatten(0, 1) for one in problem.examples())

    def step() -> dict[str, Tensor]:
        module.zero_grad()
        losses = -(targets * torch.log_softmax(module(views), dim=-1)).sum(dim=-1)
        DPTensorFastGradientClipping(module, optimizer, losses).backward()  # both of its passes
        return {name.removeprefix("_module."): p.grad.clone() for name, p in module.named_parameters()}

    return step


def opake(problem: Problem, together: int) -> Step:
    """Opake's clipped gradient of the mean loss over an example's K views, `together` gradients at the same time."""
    try:
        from opake.dpsgd.clipping import clipped_grad
    except ImportError as error:
        raise NotInstalled(f"Opake is not installed ({error}); install it: pip install {OPAKE}") from error
    loss = ExampleLoss(problem.network())
    params = {name: value.detach() for name, value in loss.module.named_parameters()}
    views, targets = problem.examples()
    compute, state = clipped_grad(loss, clipping_norm=CLIP_NORM, batch_argnums=(1, 2), microbatch_size=together)

    def step() -> dict[str, Tensor]:
        total, _ = compute(params, views, targets, state=state)
        return total.pytree

    return step


def vmap_per_view(problem: Problem) -> Step:
    """torch.func as its tutorial has it: a gradient for each of the n K images, then the same by hand."""
    from torch.func import functional_call, grad, vmap

    module = problem.network()
    params = {name: value.detach() for name, value in module.named_parameters()}
    views, targets = problem.examples()

    def loss(params: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return soft_cross_entropy(functional_call(module, params, (image[None],)), label[None])

    def step() -> dict[str, Tensor]:
        rows = vmap(grad(loss), in_dims=(None, 0, 0))(params, views.flatten(0, 1), targets.flatten(0, 1))
        means = [row.view(problem.n, problem.k, *row.shape[1:]).mean(dim=1) for row in rows.values()]
        return dict(zip(rows, _clip_by_hand(means), strict=True))

    return step


def _clip_by_hand(rows: list[Tensor]) -> list[Tensor]:
    norms = torch.stack([row.flatten(1).square().sum(dim=1) for row in rows]).sum(dim=0).sqrt()
    factors = (CLIP_NORM / norms).clamp(max=1.0)
    return [torch.tensordot(factors, row, dims=1) for row in rows]


def heads(count: int, n: int, k: int, d: int, classes: int, physical: int) -> Step:
    """`count` linear heads in closed form."""
    features, targets, weights = _head_problem(count, n, k, d, classes)
    clip_norms = torch.full((count,), CLIP_NORM)

    def step() -> dict[str, Tensor]:
        total = torch.zeros_like(weights)
        for x, y in zip(features.split(physical), targets.split(physical), strict=True):
            total += head_clipped_sum(x, y, weights, clip_norms)[0]
        return {"heads": total}

    return step


def one_head_materialised(n: int, k: int, d: int, classes: int, physical: int, per_view: bool = False) -> Step:
    """One linear head through its n per-example gradients of classes x d numbers each.

    Or per view: through n K gradients, and a mean over K for each example, as libraries without K do.
    """
    features, targets, weights = _head_problem(1, n, k, d, classes)

    def step() -> dict[str, Tensor]:
        total = torch.zeros_like(weights)
        for x, y in zip(features.split(physical), targets.split(physical), strict=True):
            residuals = torch.softmax(x @ weights[0].T, dim=-1) - y
            if per_view:
                rows = torch.einsum("nkc,nkd->nkcd", residuals, x).mean(dim=1)
            else:
                rows = torch.bmm(residuals.transpose(1, 2), x) / k
            total += _clip_by_hand([rows])[0]
        return {"heads": total}

    return step


def _head_problem(count: int, n: int, k: int, d: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    keyed = torch.Generator().manual_seed(0)
    features = append_one(torch.randn(n, k, d, generator=keyed) / d**0.5)
    targets = torch.softmax(torch.randn(n, k, classes, generator=keyed), dim=-1)
    return features, targets, torch.randn(count, classes, d + 1, generator=keyed) / d**0.5
