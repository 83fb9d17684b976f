"""Sums in fixed point are exact, whatever the order."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpmix.privacy.fixed_point import FixedPoint

SHAPES = {"weight": torch.zeros(2, 3), "bias": torch.zeros(4)}


def terms(count: int, clip_norm: float, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    """Some of them small beside others, as entries of gradients are."""
    draws = torch.Generator().manual_seed(seed)
    sizes = [10.0 ** -float(6 * torch.rand((), generator=draws)) for _ in range(count)]
    return [
        {name: (torch.rand(value.shape, generator=draws) * 2 - 1) * size * clip_norm for name, value in SHAPES.items()}
        for size in sizes
    ]


@given(st.permutations(range(9)), st.integers(1, 8), st.sampled_from([1.0, 0.1, 3.7, 1e-3]))
def test_neither_the_order_nor_the_parts_matter(order: list[int], cut: int, clip_norm: float) -> None:
    fixed = FixedPoint(SHAPES, clip_norm, 9)
    written = [fixed.write(term) for term in terms(9, clip_norm)]
    whole = torch.stack(written).sum(dim=0)
    parts = [torch.stack([written[at] for at in some]).sum(dim=0) for some in (order[:cut], order[cut:])]
    assert torch.equal(parts[0] + parts[1], whole)
    found = fixed.read(whole)
    assert {name: value.shape for name, value in found.items()} == {n: v.shape for n, v in SHAPES.items()}
    assert all(value.dtype == torch.float32 for value in found.values())


@pytest.mark.parametrize("clip_norm", [1.0, 0.1, 3.7, 2.0**-30])
def test_each_term_is_off_by_half_a_quantum_at_most(clip_norm: float) -> None:
    fixed, given_terms = FixedPoint(SHAPES, clip_norm, 100), terms(100, clip_norm, seed=1)
    assert clip_norm * 2.0**-40 <= fixed.quantum < clip_norm * 2.0**-39
    assert math.frexp(fixed.quantum)[0] == 0.5  # a power of two
    found = fixed.zero()
    for term in given_terms:
        found += fixed.write(term)
    exact = [
        sum((Fraction(float(term[name].flatten()[at])) for term in given_terms), Fraction(0))
        for name, value in SHAPES.items()
        for at in range(value.numel())
    ]
    assert len(exact) == len(found)
    quantum = Fraction(fixed.quantum)
    assert all(abs(int(one) * quantum - other) <= 100 * quantum / 2 for one, other in zip(found, exact, strict=True))
    flat = torch.cat([value.flatten() for value in fixed.read(found).values()])
    assert flat.tolist() == [float(torch.tensor(float(int(one) * quantum), dtype=torch.float32)) for one in found]


@pytest.mark.parametrize("count", [1, 10**6, 10**7, 10**12])
def test_a_sum_of_the_longest_terms_fits(count: int) -> None:
    fixed = FixedPoint(SHAPES, 1.5, count)
    one = fixed.write({name: torch.full_like(value, 1.5) for name, value in SHAPES.items()})
    assert count * int(one.max()) < 2**63
    assert int(one.max()) * fixed.quantum == pytest.approx(1.5, rel=1e-4)


@pytest.mark.parametrize("clip_norm", [1.0, 0.1, 3.7])
@pytest.mark.parametrize("entries", [10_000, 100_000])
def test_a_term_becomes_hardly_longer(clip_norm: float, entries: int) -> None:
    """What the module says of the norm of one term, at the longest that it can be."""
    term = torch.randn(entries, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    term = (term * clip_norm / term.norm()).float()
    fixed = FixedPoint({"weight": term}, clip_norm, 50_000)
    written = fixed.write({"weight": term}).double() * fixed.quantum
    bound = math.sqrt(entries) / 2 * 2.0**-39 * clip_norm
    assert 0 < float((written - term.double()).norm()) <= bound
    assert float(written.norm()) <= float(term.double().norm()) + bound
    assert bound < 1e-7 * clip_norm  # what float32 cannot tell from C


def test_nothing_is_zero() -> None:
    fixed = FixedPoint(SHAPES, 1.0, 10)
    assert all(not value.any() for value in fixed.read(fixed.zero()).values())
    assert torch.equal(fixed.write(SHAPES), fixed.zero())
