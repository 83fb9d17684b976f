"""The clipped sum of linear heads on frozen features, in closed form and for many heads at once.

For features f_k (a constant 1 appended for the bias), residuals r_k = softmax(W f_k) - y_k and K views, the gradient of
the mean cross-entropy of one example is G = 1/K sum_k r_k f_k^T, so that

    ||G||^2 = 1/K^2 sum_kl (r_k . r_l) (f_k . f_l),

two K x K Gram matrices instead of a matrix of classes x features; and the clipped sum over the batch is one product of
scaled residuals with features. The features' Gram matrices serve every head.
"""

import torch
from torch import Tensor

from dpmix.privacy.clipping import clip_factors

# Where views cancel, the Gram sum loses digits: below this share of its largest possible value the squared norm is
# taken from the materialised gradient instead, so that a norm is never underestimated (relative error 1e-7 / share).
_CANCELLATION = 1e-3


def append_one(features: Tensor) -> Tensor:
    """[..., d] -> [..., d + 1], the bias's constant input last."""
    return torch.cat([features, features.new_ones(*features.shape[:-1], 1)], dim=-1)


def head_residuals(features: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """softmax(W f) - y: features [n, K, d], targets [n, K, c], weights [H, c, d] -> float32 [H, n, K, c].

    The gradient of soft-label cross-entropy in the logits, for targets whose rows sum to one.
    """
    n, k, d = features.shape
    heads, classes, _ = weights.shape
    logits = (features.reshape(n * k, d) @ weights.reshape(heads * classes, d).T).view(n, k, heads, classes)
    return (torch.softmax(logits, dim=-1) - targets[:, :, None]).permute(2, 0, 1, 3)


def head_clipped_sum(features: Tensor, targets: Tensor, weights: Tensor, clip_norms: Tensor) -> tuple[Tensor, Tensor]:
    """Clipped sums of H linear heads over one physical batch (Eq. 4's inner sum).

    Args:
        features: float32 [n, K, d], frozen features with the constant 1 appended.
        targets: float32 [n, K, classes], soft labels whose rows sum to one.
        weights: float32 [H, classes, d].
        clip_norms: float32 [H], C of each head.

    Returns:
        The sums, float32 [H, classes, d], and the norms before clipping, float32 [H, n]. An example whose features or
        gradient are not finite contributes zero. Each sum moves by at most C when one example is added or removed.
    """
    n, k, d = features.shape
    heads, classes, _ = weights.shape
    if n == 0:
        return torch.zeros_like(weights), weights.new_zeros(heads, 0)
    usable = torch.isfinite(features).all(dim=2).all(dim=1)
    features = torch.where(usable[:, None, None], features, torch.zeros_like(features))
    residuals = head_residuals(features, targets, weights)
    squares = _squared_norms(features, residuals)
    norms = squares.clamp_min(0).sqrt()
    norms = torch.where(usable, norms, torch.full_like(norms, torch.nan))
    factors = torch.stack([clip_factors(row, float(c)) for row, c in zip(norms, clip_norms, strict=True)]) / k
    scaled = torch.where(factors[:, :, None, None] > 0, residuals * factors[:, :, None, None], 0.0)
    total = scaled.permute(0, 3, 1, 2).reshape(heads * classes, n * k) @ features.reshape(n * k, d)
    return total.view(heads, classes, d), norms


def _squared_norms(features: Tensor, residuals: Tensor) -> Tensor:
    """||1/K sum_k r_k f_k^T||^2 for each head and example, float32 [H, n]."""
    k = features.shape[1]
    feature_gram = torch.bmm(features, features.transpose(1, 2))
    residual_gram = residuals @ residuals.transpose(2, 3)
    squares = (residual_gram * feature_gram).sum(dim=(2, 3)) / k**2
    lengths = residuals.square().sum(dim=3) * feature_gram.diagonal(dim1=1, dim2=2)
    largest = lengths.clamp_min(0).sqrt().sum(dim=2).square() / k**2
    doubtful = squares < _CANCELLATION * largest
    for head, example in doubtful.nonzero().tolist():
        gradient = residuals[head, example].T @ features[example] / k
        squares[head, example] = gradient.square().sum()
    return squares


def head_magnitudes(features: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Figure 2's sum over examples of |g_ij| before clipping, for one head: float32 [classes, d], as its weights."""
    total = torch.zeros_like(weights)
    for x, r in zip(features, head_residuals(features, targets, weights[None])[0], strict=True):
        total += (r.T @ x / len(x)).abs()
    return total
