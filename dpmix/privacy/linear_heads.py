"""The clipped sum of linear heads on frozen features, in closed form and for many heads at once.

For features F (K x d, a constant 1 appended for the bias), residuals R = softmax(F W^T) - Y (K x classes) and K views,
the gradient of the mean cross-entropy of one example is G = 1/K R^T F. With any K x K factor S of the views' Gram
matrix, F F^T = S^T S,

    ||G|| = 1/K ||S R||,

K x classes numbers instead of d x classes, and one S for all heads; and the clipped sum over the batch is one product
of scaled residuals with features. Where views cancel, S R loses no more digits than R^T F itself, while the sum over
both Gram matrices, 1/K^2 sum_kl (r_k . r_l) (f_k . f_l), would be a small difference of large squares.
"""

import torch
from torch import Tensor

from dpmix.privacy.modes import FLAT, Clipping, Scaling, clip_rows
from dpmix.privacy.precision import full_float32

# The work goes in blocks of examples and heads: about so many outputs (heads x classes) in a row, and numbers in all.
# On the CPU a block stays in the cache from one operation to the next; a GPU wants few, large products.
_OUTPUTS = {"cpu": 1 << 11, "cuda": 1 << 13}

_NUMBERS = {"cpu": 1 << 21, "cuda": 1 << 26}


def append_one(features: Tensor) -> Tensor:
    """Features [..., d] -> [..., d + 1] with a 1 at the end, whose weight is the bias.

    >>> append_one(torch.tensor([[2.0, 3.0]]))
    tensor([[2., 3., 1.]])
    """
    return torch.cat([features, features.new_ones(*features.shape[:-1], 1)], dim=-1)


def head_residuals(
    features: Tensor, targets: Tensor, weights: Tensor, logits: Tensor | None = None, out: Tensor | None = None
) -> Tensor:
    """softmax(W f) - y of H heads: the gradient of each view's soft-label cross-entropy in the logits.

    Args:
        features: float32 [n, K, d], a constant 1 last.
        targets: float32 [n, K, classes], rows that sum to one.
        weights: float32 [H, classes, d].
        logits: memory of n K H classes numbers for what comes between, if it is to be used again.
        out: as much memory for the result.

    Returns:
        float32 [n, K, H, classes].

    >>> features, targets = torch.ones(1, 1, 3), torch.tensor([[[1.0, 0.0]]])
    >>> head_residuals(features, targets, weights=torch.zeros(1, 2, 3))
    tensor([[[[-0.5000,  0.5000]]]])
    """
    n, k, d = features.shape
    heads, classes, _ = weights.shape
    rows = None if logits is None else logits.view(n * k, heads * classes)
    rows = torch.mm(features.reshape(n * k, d), weights.reshape(heads * classes, d).T, out=rows)
    result = None if out is None else out.view(n, k, heads, classes)
    return torch.softmax(rows.view(n, k, heads, classes), dim=-1, out=result).sub_(targets[:, :, None])


@torch.no_grad()
def head_clipped_sum(
    features: Tensor, targets: Tensor, weights: Tensor, clip_norms: Tensor, mode: Clipping = FLAT
) -> tuple[Tensor, Tensor]:
    """Clipped sums of H linear heads over one physical batch (Eq. 4's inner sum).

    Args:
        features: float32 [n, K, d], frozen features with the constant 1 appended.
        targets: float32 [n, K, classes], soft labels whose rows sum to one.
        weights: float32 [H, classes, d].
        clip_norms: float32 [H], C of each head; on the CPU, lest a GPU's work is waited for.
        mode: how gradients are clipped; a linear head is one layer, so `PerLayer` is the same as `Flat`. One that is no
            `Scaling` has each example's gradient made, [classes, d], which is many times slower.

    Returns:
        The sums, float32 [H, classes, d], and the norms before clipping, float32 [H, n]. An example whose features or
        gradient are not finite contributes zero. Each sum moves by at most C when one example is added or removed, up
        to float32's rounding. Beyond the result it needs some MB of memory (on a GPU, some hundred), whatever n is.

    Two heads, with one C each, over three examples of two views:

    >>> features, targets = append_one(torch.rand(3, 2, 4)), torch.tensor([0.5, 0.5]).expand(3, 2, 2)
    >>> totals, norms = head_clipped_sum(features, targets, torch.rand(2, 2, 5), torch.tensor([0.1, 1.0]))
    >>> totals.shape, norms.shape, bool(totals[0].norm() <= 3 * 0.1)
    (torch.Size([2, 2, 5]), torch.Size([2, 3]), True)
    """
    n, k, _ = features.shape
    heads, classes, d = weights.shape
    total = torch.zeros_like(weights, memory_format=torch.contiguous_format)
    norms = weights.new_zeros(heads, n)
    bounds = clip_norms.tolist()
    together, examples = _block(n, k, d, heads, classes, features.device.type)
    buffers = features.new_empty(2, examples * k * together * classes)
    with full_float32(features.device.type):
        for start in range(0, n, examples):
            part = slice(start, start + examples)
            usable = torch.isfinite(features[part]).all(dim=2).all(dim=1)
            x = torch.where(usable[:, None, None], features[part], 0.0).contiguous()
            turn = torch.where(usable[:, None, None], view_factor(x), torch.nan)
            for first in range(0, heads, together):
                group = slice(first, first + together)
                logits, out = buffers[:, : x.shape[0] * k * weights[group].shape[0] * classes]
                residuals = head_residuals(x, targets[part], weights[group], logits, out)
                norms[group, part] = lengths = _norms(turn, residuals, logits).T
                if isinstance(mode, Scaling):
                    factors = torch.stack([mode.scale(row, c) for row, c in zip(lengths, bounds[group], strict=True)])
                    _scale(residuals, factors.T / k)
                    total[group].view(-1, d).addmm_(residuals.view(x.shape[0] * k, -1).T, x.view(-1, d))
                    continue
                for head, (row, c) in enumerate(zip(lengths, bounds[group], strict=True), start=first):
                    total[head] += _clipped_one_by_one(x, residuals[:, :, head - first], torch.isfinite(row), c, mode)
    return total, norms


def _clipped_one_by_one(x: Tensor, residuals: Tensor, counted: Tensor, clip_norm: float, mode: Clipping) -> Tensor:
    """The clipped sum of one head, each gradient made: x [n, K, d], residuals [n, K, c], bool [n] -> [c, d]."""
    gradients = torch.bmm(residuals[counted].mT, x[counted]) / x.shape[1]
    return clip_rows({"head.weight": gradients}, clip_norm, mode)["head.weight"].sum(dim=0)


def _block(n: int, k: int, d: int, heads: int, classes: int, device: str) -> tuple[int, int]:
    """How many heads, and how many examples, one block of the computation holds."""
    kind = device if device in _OUTPUTS else "cuda"
    together = min(heads, max(1, round(_OUTPUTS[kind] / classes)))
    return together, max(1, min(n, _NUMBERS[kind] // (k * max(d, together * classes))))


def view_factor(features: Tensor) -> Tensor:
    """Upper triangular S with S^T S = F F^T, so that ||S R|| = ||F^T R|| for any R: features [n, K, d] -> [n, K, K].

    Cholesky's decomposition in float64 of F F^T + e I, where e, (d + K) ulp of the trace, is more than rounding can
    take away. So norms computed with S are never too small, but for float32's rounding, and too large by at most some
    1e-7 ||F|| ||R||. Views may be equal, or more than there are features. NaN where the decomposition fails.

    >>> features = torch.rand(1, 2, 5)
    >>> factor = view_factor(features)
    >>> torch.allclose(factor.mT @ factor, features @ features.mT)
    True
    """
    _, k, d = features.shape
    precise = features.double()
    gram = precise @ precise.transpose(1, 2)
    diagonal = gram.diagonal(dim1=1, dim2=2)
    limits = torch.finfo(torch.float64)
    diagonal += (d + k) * limits.eps * diagonal.sum(dim=1, keepdim=True) + limits.tiny
    lower, failed = torch.linalg.cholesky_ex(gram)
    return torch.where(failed[:, None, None] == 0, lower.transpose(1, 2), torch.nan).to(features.dtype)


def _norms(factor: Tensor, residuals: Tensor, out: Tensor) -> Tensor:
    """||S R|| / K: factor [n, K, K], residuals [n, K, H, c], a buffer of as many numbers -> float32 [n, H]."""
    n, k, heads, classes = residuals.shape
    turned = torch.bmm(factor, residuals.view(n, k, heads * classes), out=out.view(n, k, heads * classes))
    return torch.linalg.vector_norm(turned.view(n, k, heads, classes), dim=3).norm(dim=1) / k


def _scale(residuals: Tensor, factors: Tensor) -> None:
    """Residuals [n, K, H, c] times factors [n, H], in place; where a factor is zero, whatever was there goes."""
    residuals *= factors[:, None, :, None]
    left_out = factors == 0
    if not left_out.is_cpu or left_out.any():  # to ask a GPU takes longer than to do it
        residuals.masked_fill_(left_out[:, None, :, None], 0.0)


def head_magnitudes(features: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Sum over examples of the absolute gradient, entry by entry and before clipping: what Figure 2 shows.

    Args:
        features: float32 [n, K, d], a constant 1 last.
        targets: float32 [n, K, classes].
        weights: float32 [classes, d] of one head.

    Returns:
        float32 [classes, d].

    >>> features, targets = torch.ones(2, 1, 1), torch.tensor([[1.0, 0.0], [0.0, 1.0]])[:, None]
    >>> head_magnitudes(features, targets, torch.zeros(2, 1))
    tensor([[1.],
            [1.]])
    """
    total = torch.zeros_like(weights)
    for x, r in zip(features, head_residuals(features, targets, weights[None])[:, :, 0], strict=True):
        total += (r.T @ x / len(x)).abs()
    return total
