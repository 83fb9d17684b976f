"""Algorithm 1's step: midpoints, the push, α, and what is mixed with what."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from dpmix.errors import ParamsError
from dpmix.privacy.model_mix import MixingSource, MixRule, SecureMixing, SeededMixing, mix, signed_gaps

WIDTH = 0.3
sources = pytest.mark.parametrize("source", [SeededMixing(3), SecureMixing()], ids=["seeded", "secure"])


def stepped(last: float, before: float, total: float, alpha: float, rule: MixRule) -> float:
    """Lines 6 to 10, one coordinate, in Python's floats."""
    gap = abs(last - before)
    wanted = rule.width * max(1, math.ceil(gap / rule.width))
    sign = -1.0 if last < before else 1.0  # sign(0) := +1
    push = sign * (wanted - gap) / 2
    mixed = alpha * (last + push) + (1 - alpha) * (before - push)
    pulled = rule.heavy_ball * (last - before) - rule.learning_rate * rule.weight_decay * last
    return mixed - rule.learning_rate * total / rule.expected_units + pulled


@given(*[st.floats(-5, 5, width=32)] * 3, st.floats(0, 1), st.sampled_from([0.0, 0.9]), st.sampled_from([0.0, 0.1]))
def test_a_step_is_what_algorithm_1_says(
    last: float, before: float, total: float, alpha: float, ball: float, decay: float
) -> None:
    rule = MixRule(WIDTH, 0.7, 10, ball, decay)
    found = mix(*(torch.tensor([value]) for value in (last, before, total)), torch.tensor([alpha]).double(), rule)
    # float32, and α in [0, 1] where a gap is one rounding from the next multiple of the width.
    gap = abs(last - before) / WIDTH
    near = abs(gap - round(gap)) < 1e-9 and gap > 0.5
    expected = stepped(last, before, total, alpha, rule)
    assert float(found) == pytest.approx(expected, abs=1e-5 + WIDTH * near)


def test_distances_are_whole_multiples_of_the_width_and_at_least_one() -> None:
    gaps = torch.tensor([0.0, 1e-9, 0.29, -0.1, 0.31, -0.61, 1.0])
    multiples = signed_gaps(gaps, torch.zeros(7), WIDTH) / WIDTH
    torch.testing.assert_close(multiples, torch.tensor([1.0, 1, 1, -1, 2, -3, 4]).double(), rtol=1e-12, atol=0)


def test_equal_states_are_pushed_too() -> None:
    """The paper's code leaves them, by sign(0) = 0, so that nothing hides the gradient."""
    states, zeros = torch.full((10_000,), 1.0), torch.zeros(10_000)
    alpha = SeededMixing(0).draw((10_000,), step=0, name="norm.weight")
    mixed = mix(states, states, zeros, alpha, MixRule(WIDTH, 1.0, 10))
    assert float(mixed.double().std()) == pytest.approx(WIDTH / math.sqrt(12), rel=0.03)
    assert float((mixed - 1).abs().max()) <= WIDTH / 2 * (1 + 1e-5)


@sources
def test_alpha_is_uniform_and_fresh(source: MixingSource) -> None:
    shape = (200, 50)
    first, other_step, other_name = (
        source.draw(shape, step=step, name=name) for step, name in [(0, "a"), (1, "a"), (0, "b")]
    )
    for one in (first, other_step, other_name):
        assert one.dtype == torch.float64
        assert one.shape == shape
        assert stats.kstest(one.flatten().numpy(), "uniform").pvalue > 1e-6
    for one, other in [(first, other_step), (first, other_name)]:
        assert abs(float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])) < 0.06
    assert len(first.unique()) == first.numel()


@sources
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,)])
def test_any_shape_is_drawn(source: MixingSource, shape: Sequence[int]) -> None:
    assert source.draw(shape, step=0, name="a").shape == tuple(shape)


def test_a_seed_repeats_and_a_release_does_not() -> None:
    def drawn(source: MixingSource) -> list[Tensor]:
        return [source.draw((100,), step=2, name="a") for _ in range(2)]

    assert torch.equal(*drawn(SeededMixing(1)))
    assert not torch.equal(*drawn(SecureMixing()))
    assert not torch.equal(drawn(SeededMixing(1))[0], drawn(SeededMixing(2))[0])


def test_the_states_are_left_as_they_were_released() -> None:
    last, before = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.1])
    mix(last, before, torch.ones(2), torch.tensor([0.2, 0.9]), MixRule(WIDTH, 1.0, 10))
    assert last.tolist() == [1.0, 2.0]
    assert before.tolist() == [1.0, pytest.approx(2.1)]


def test_released_states_lie_on_a_grid_of_the_width() -> None:
    """Whatever the sum was: low bits of a number near zero would be those of float64's rounding."""
    rule, total = MixRule(WIDTH, 1.0, 10), torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 1e-3
    alpha = SeededMixing(0).draw((1000,), step=0, name="a")
    states = mix(torch.zeros(1000), torch.zeros(1000), total, alpha, rule).double() / 2.0**-26
    assert torch.equal(states, states.round())
    # On its nearest points, above and below what was computed alike.
    exact = ((alpha - 0.5) * WIDTH - total.double() / 10) / 2.0**-26
    assert float((states - exact).abs().max()) <= 0.5 + 1e-6


@pytest.mark.parametrize("width", [0.0, -1.0, math.inf, math.nan])
def test_a_width_that_mixes_nothing_is_refused(width: float) -> None:
    with pytest.raises(ParamsError, match=r"mixing width .* is not a finite number above 0"):
        MixRule(width, 1.0, 10)
