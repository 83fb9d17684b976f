"""How far float32 results may lie apart on any processor: bounds from the unit roundoff and the length of sums.

A kernel adds in whatever order, in blocks or lanes, with or without fused multiply-adds. For all of them (Higham,
Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1) a sum of n products of float32 numbers is

    fl(sum_i x_i y_i) = sum_i x_i y_i (1 + theta_i),    |theta_i| <= gamma_n = n u / (1 - n u),

u = 2^-24 being float32's unit roundoff, and m roundings one after the other are a relative error of at most gamma_m.
Whether these errors conspire is another matter: they add up like independent ones, as squares, so that

    |error| <= gamma_n ||(x_i y_i)_i||

with the Euclidean norm of the terms. That is three standard deviations where the terms have one sign and are added one
after the other (partial sums s_j <= sqrt(n) ||terms||, each rounded by at most u s_j with a variance of (u s_j)^2 / 3),
and about sqrt(n) times more than that for terms of both signs or added in blocks. Two computations of one number lie
within twice its bound.
"""

from typing import NamedTuple

import torch
from torch import Tensor

UNIT = 2.0**-24


def gamma(roundings: int) -> float:
    """gamma_n, the largest relative error of n float32 roundings one after the other."""
    assert roundings * UNIT < 0.5
    return roundings * UNIT / (1 - roundings * UNIT)


class HeadRounding(NamedTuple):
    """Bounds on one computation of `head_clipped_sum`: of each sum's distance [H], and of each norm [H, n]."""

    totals: Tensor
    norms: Tensor


def head_rounding(features: Tensor, targets: Tensor, weights: Tensor, clip_norms: Tensor) -> HeadRounding:
    """How far float32 carries `head_clipped_sum` from exact arithmetic, whatever the blocks and kernels.

    With x = features [K, d] of one example, a = x W^T, p = softmax(a), R = p - y, L = ||S R|| / K, s = min(1, C / L)
    and the sum over examples of (s / K) R^T x; one line for the error of each:

        a    gamma_d ||(x_i w_i)_i||
        R    ||da|| / 2, as softmax halves distances at least, and gamma_(c + 6) (||p|| + ||y||) for its own maximum,
             exponential (2 ulp), sum and division, and the subtraction
        L    ||(||x_k|| dr_k)_k|| / K; gamma_K ||(||x_k|| ||r_k||)_k|| / K for S R; gamma_(K c + 4) L for its norm; and
             sqrt((d + K) 2^-52) ||x|| ||R|| / K, which S^T S has beyond x x^T
        s    s dL / L + gamma_2 s where the gradient may be longer than C, else 0
        sum  as squares over examples and views: s dr_k ||x_k|| / K; ds L; gamma_(n K + 3) s ||r_k|| ||x_k|| / K
    """
    x, y, w = features.double(), targets.double(), weights.double()
    n, k, d = x.shape
    classes = y.shape[-1]
    p = torch.softmax(torch.einsum("nkd,hcd->nkhc", x, w), dim=-1)
    r = p - y[:, :, None]
    off_r = gamma(d) * torch.einsum("nkd,hcd->nkh", x.square(), w.square()).sqrt() / 2
    off_r += gamma(classes + 6) * (p.norm(dim=3) + y.norm(dim=2)[:, :, None])  # [n, K, H]
    length, residual = x.norm(dim=2)[:, :, None] / k, r.norm(dim=3)  # [n, K, 1], [n, K, H]
    norms = torch.einsum("nkhc,nkd->nhcd", r, x).flatten(2).norm(dim=2) / k  # [n, H]
    off_norms = (length * off_r).norm(dim=1) + gamma(k) * (length * residual).norm(dim=1)
    off_norms += gamma(k * classes + 4) * norms
    off_norms += ((d + k) * 2.0**-52) ** 0.5 * length.norm(dim=1) * residual.norm(dim=1)
    bounds = clip_norms.double()
    factors = (bounds / norms.clamp_min(1e-300)).clamp(max=1)
    off_factors = factors * off_norms / norms.clamp_min(1e-300) + gamma(2) * factors
    off_factors = torch.where(norms + off_norms > bounds, off_factors, 0.0)
    terms = [
        factors[:, None] * off_r * length,
        (off_factors * norms)[:, None],
        gamma(n * k + 3) * factors[:, None] * residual * length,
    ]
    return HeadRounding(sum((term.square().sum(dim=(0, 1)).sqrt() for term in terms), bounds * 0), off_norms.T)
