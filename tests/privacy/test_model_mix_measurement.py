"""Mixing is measured: α is uniform over the width that is said, fresh at every step and in every coordinate.

Each way of breaking it is one that an honest run passes.
"""

import pytest
import torch
from scipy import stats
from torch import Tensor

from dpmix.errors import PrivacyError
from dpmix.privacy.model_mix import MixRule, SecureMixing, SeededMixing, centres, mix
from dpmix.privacy.model_mix_measurement import MixingMeasurement
from tests.privacy.mixed_runs import PLAN, mixed_run


def test_an_honest_run_passes() -> None:
    for source in (SeededMixing(2), SecureMixing()):
        assert mixed_run(source=source).certify(PLAN)["model-mix"] <= 3


def reused_over_steps(last, before, noisy, alpha, rule, step, name):
    return mix(last, before, noisy, SeededMixing(5).draw(alpha.shape, step=0, name=name), rule)


def reused_over_coordinates(last, before, noisy, alpha, rule, step, name):
    """One α for a whole parameter, as in usual averaging of models."""
    return mix(last, before, noisy, alpha.flatten()[0].expand(alpha.shape), rule)


def reused_over_rows(last, before, noisy, alpha, rule, step, name):
    return mix(last, before, noisy, alpha[:1].expand(alpha.shape), rule)


def reused_over_parameters(last, before, noisy, alpha, rule, step, name):
    return mix(last, before, noisy, SeededMixing(5).draw(alpha.shape, step=step, name=""), rule)


def a_constant(last, before, noisy, alpha, rule, step, name):
    """The plain mean of the last two states."""
    return mix(last, before, noisy, torch.full(alpha.shape, 0.5), rule)


def two_values(last, before, noisy, alpha, rule, step, name):
    """One state or the other: of a larger variance than uniform numbers."""
    return mix(last, before, noisy, (alpha > 0.5).double(), rule)


def narrow(last, before, noisy, alpha, rule, step, name):
    """Pushed to 0.8 of the width that is said."""
    return mix(last, before, noisy, 0.5 + 0.8 * (alpha - 0.5), rule)


def not_pushed(last, before, noisy, alpha, rule, step, name):
    """Mixed as they are, also where they are close."""
    return (centres(last, before, noisy, rule) + (alpha - 0.5) * (last - before)).float()


def ties_not_pushed(last, before, noisy, alpha, rule, step, name):
    """sign(0) = 0: what is equal in both states stays without mixing noise, as norm layers do at the first step."""
    tied = last == before
    return torch.where(tied, centres(last, before, noisy, rule).float(), mix(last, before, noisy, alpha, rule))


def an_unmixed_layer(last, before, noisy, alpha, rule, step, name):
    """Said to be mixed, as by code that leaves norm layers out."""
    return last - rule.scale * noisy if "norm" in name else mix(last, before, noisy, alpha, rule)


def an_unmixed_entry_now_and_then(last, before, noisy, alpha, rule, step, name):
    """The first four of each parameter, in one step."""
    mixed = mix(last, before, noisy, alpha, rule)
    if step == 7:
        mixed.view(-1)[:40] = centres(last, before, noisy, rule).float().view(-1)[:40]
    return mixed


class Momentum:
    """A buffer of noisy gradients, as `torch.optim.SGD` has and the released code uses."""

    def __init__(self) -> None:
        self.buffers: dict[str, Tensor] = {}

    def __call__(self, last, before, noisy, alpha, rule, step, name):
        self.buffers[name] = 0.9 * self.buffers.get(name, torch.zeros_like(noisy)) + noisy
        return mix(last, before, self.buffers[name], alpha, rule)


def mixed_after_the_gradient(last, before, noisy, alpha, rule, step, name):
    """Twice the noisy step."""
    return mix(last, before, 2 * noisy, alpha, rule)


@pytest.mark.parametrize(
    ("update", "said"),
    [
        (reused_over_steps, "mixing is not what was said"),
        (reused_over_coordinates, "mixing is not what was said"),
        (reused_over_rows, "repeats or cancels within it"),
        (reused_over_parameters, "two parameters have had the same noise"),
        (a_constant, "were not mixed"),
        (two_values, "moved by something else|mixing is not what was said"),
        (narrow, "of the standard deviation"),
        (not_pushed, "were not mixed|standard deviation"),
        (ties_not_pushed, r"coordinates of norm.weight were not mixed"),
        (an_unmixed_layer, r"norm.weight was moved by something else|coordinates of norm.weight were not mixed"),
        (an_unmixed_entry_now_and_then, "were not mixed"),
        (Momentum(), "was moved by something else than its mixing and its noisy sum"),
        (mixed_after_the_gradient, "was moved by something else"),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__) if callable(value) else "",
)
def test_what_is_not_model_mix_is_found(update, said: str) -> None:
    ledger = mixed_run(update=update)
    with pytest.raises(PrivacyError, match=said):
        ledger.certify(PLAN)


def test_the_realised_noise_is_uniform_with_the_claimed_width() -> None:
    """Seen from outside: what a step adds to the midpoint, at gaps of every size, without gradients."""
    rule = MixRule(0.2, 1.0, 10)
    draws = torch.Generator().manual_seed(1)
    before = torch.zeros(60_000)
    last = torch.randn(60_000, generator=draws) * 0.3
    last[:20_000] = 0
    after = mix(last, before, torch.zeros(60_000), SeededMixing(4).draw((60_000,), step=0, name="a"), rule)
    added = (after - (last + before) / 2).double()
    ties, others = added[:20_000], added[20_000:]
    assert stats.kstest(ties.numpy(), "uniform", args=(-0.1, 0.2)).pvalue > 1e-6
    multiples = torch.ceil(last[20_000:].abs() / 0.2).clamp_min(1)
    assert stats.kstest((others / multiples).numpy(), "uniform", args=(-0.1, 0.2)).pvalue > 1e-6
    assert float(others.abs().max()) > 0.25


@pytest.mark.parametrize("size", [0.1, 100.0])
@pytest.mark.parametrize(("end", "outwards"), [(0.0, -1), (1.0, 1)])
def test_alpha_may_leave_its_interval_by_rounding_and_no_more(size: float, end: float, outwards: int) -> None:
    """By ten roundings of float32, of the weights or of the width, whichever is larger."""
    rule, zeros, last = MixRule(0.3, 1.0, 10), torch.zeros(1000), torch.full((1000,), size)

    def measured(first: float) -> MixingMeasurement:
        alpha = SeededMixing(6).draw((1000,), step=0, name="weight")
        alpha[0] = first
        measurement = MixingMeasurement()
        measurement.add("weight", last, last, zeros, mix(last, last, zeros, alpha, rule), rule)
        return measurement

    measured(end).verify()
    with pytest.raises(PrivacyError, match="weight was moved by something else"):
        measured(end + outwards * 10 * 2.0**-23 * max(1, size / rule.width)).verify()


def test_nothing_is_measured_of_empty_parameters() -> None:
    measurement, empty = MixingMeasurement(), torch.zeros(0)
    measurement.add("empty", empty, empty, empty, empty, MixRule(1.0, 1.0, 10))
    measurement.close_step()
    measurement.verify()
    assert measurement._noise.count == 0


@pytest.mark.parametrize(
    ("width", "weight", "said"),
    [
        (1e-8, 0.3, "float32 rounds mixing over a width of 1e-08 away in a, .* raise learning_rate or mix_width"),
        (1e-300, 0.3, "float32 rounds mixing"),
        (1e-2, 1e6, "float32 rounds mixing"),
        (0.1, float("inf"), "weights of a are no longer finite; discard the model and lower learning_rate"),
        (0.1, float("nan"), "no longer finite"),
    ],
)
def test_mixing_that_float32_cannot_hold_is_refused_with_a_remedy(width: float, weight: float, said: str) -> None:
    """Nothing can be measured then. The remedy is another setting: the update itself is right."""
    rule, zeros, last = MixRule(width, 1.0, 10), torch.zeros(1000), torch.full((1000,), weight)
    alpha = SeededMixing(0).draw((1000,), step=0, name="a")
    with pytest.raises(PrivacyError, match=said) as caught:
        MixingMeasurement().add("a", last, last, zeros, mix(last, last, zeros, alpha, rule), rule)
    assert "\n" not in str(caught.value)


def test_a_width_that_float32_just_holds_passes() -> None:
    """Some α are rounded to 0 or 1 then, whose quantiles are infinite."""
    count, zeros, last = 500_000, torch.zeros(500_000), torch.full((500_000,), 0.9)
    rule = MixRule(0.9 / 16_000, 1.0, 10)
    alpha = SeededMixing(0).draw((count,), step=0, name="a")
    released = mix(last, last, zeros, alpha, rule)
    assert float(((released.double() - last.double()) / rule.width).abs().max()) >= 0.4999
    measurement = MixingMeasurement()
    measurement.add("a", last, last, zeros, released, rule)
    measurement.verify()
