"""`modes.Coordinates`, ModelMix's Algorithm 2: L2 clipping, then every entry to ± C / sqrt(p), both enforced."""

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from typing_extensions import override

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.clipping import clipped_sum
from dpmix.privacy.loss import ExampleLoss
from dpmix.privacy.modes import AutoS, Clipping, Coordinates, Flat, clip_rows
from tests.privacy import checks
from tests.privacy.architectures import flat, naive, parameters
from tests.tolerances import gamma

every_backend = pytest.mark.parametrize("backend", ["sequential", "vectorized", "reference"])


@every_backend
def test_one_record_moves_the_sum_by_at_most_its_sensitivity(backend: str) -> None:
    checks.check_mode_sensitivity(Coordinates(4.0), backend=backend)


@every_backend
@pytest.mark.parametrize("truncation", [1.0, 30.0, 400.0])
def test_the_sum_is_algorithm_2(backend: str, truncation: float) -> None:
    module, clip_norm = checks.small_network(), 0.3
    views, targets = checks.small_batch(4, 2)
    rows = naive(module, parameters(module), views, targets)
    expected = torch.zeros(sum(value.numel() for value in module.parameters()), dtype=torch.float64)
    cut = 0
    for index in range(4):
        gradient = flat({name: row[index] for name, row in rows.items()}).double()
        shortened = gradient * min(1.0, clip_norm / float(gradient.norm()))
        most = clip_norm / math.sqrt(truncation)
        cut += int((shortened.abs() > most).sum())
        expected += shortened.clamp(-most, most)
    assert (cut > 0) == (truncation > 1)
    mode = Coordinates(truncation)
    found = clipped_sum(ExampleLoss(module), parameters(module), views, targets, clip_norm, backend=backend, mode=mode)
    assert float((flat(found.total) - expected).norm()) <= 1e-5 * float(expected.norm())
    assert found.sensitivity == clip_norm


def test_the_l2_bound_comes_first() -> None:
    """As in Algorithm 2: what is cut is what is left of an entry after the gradient has been shortened."""
    (found,) = Coordinates(4.0).clip({"weight": torch.tensor([[30.0, 40.0]])}, clip_norm=1.0).values()
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5]]))
    (found,) = Coordinates(2.0).clip({"weight": torch.tensor([[30.0, 40.0]])}, clip_norm=1.0).values()
    torch.testing.assert_close(found, torch.tensor([[0.6, math.sqrt(0.5)]]))


def test_modes_say_their_largest_entry() -> None:
    names = ["a.weight", "a.bias"]
    assert Coordinates(100.0).largest(names, 20.0) == pytest.approx(2.0)
    assert Flat().largest(names, 20.0) == AutoS().largest(names, 20.0) == 20.0


class Forgetful(Coordinates):
    """Says that entries are cut, and only shortens."""

    @override
    def clip(self, rows: Mapping[str, Tensor], clip_norm: float) -> dict[str, Tensor]:
        return Flat().clip(rows, clip_norm)


class CutFirst(Coordinates):
    """Cuts entries to 1 / sqrt(p) of the gradient's own norm, then shortens by what is left: not Algorithm 2."""

    @override
    def clip(self, rows: Mapping[str, Tensor], clip_norm: float) -> dict[str, Tensor]:
        (row,) = rows.values()
        most = row.flatten(1).norm(dim=1).clamp_min(clip_norm) / math.sqrt(self.truncation)
        return Flat().clip({"weight": torch.minimum(torch.maximum(row, -most[:, None]), most[:, None])}, clip_norm)


@pytest.mark.parametrize("mode", [Forgetful(100.0), CutFirst(100.0)], ids=["not at all", "before the norm"])
def test_a_mode_that_lets_larger_entries_through_is_refused(mode: Coordinates) -> None:
    row = torch.zeros(2, 50)
    row[:, :3] = 5.0
    with pytest.raises(PrivacyError, match=r"lets an entry of a gradient through that is larger than the 0\.1 "):
        clip_rows({"weight": row}, 1.0, mode)
    clip_rows({"weight": row}, 1.0, Coordinates(100.0))


@pytest.mark.parametrize("mode", [Coordinates(4.0), Flat(), AutoS()], ids=["coordinates", "flat", "AUTO-S"])
def test_no_examples_are_clipped_to_none(mode: Clipping) -> None:
    """As of a batch in which no gradient is finite; a parameter may be a single number."""
    rows = {"scale": torch.zeros(0), "weight": torch.zeros(0, 3, 2)}
    assert [row.shape for row in clip_rows(rows, 1.0, mode).values()] == [(0,), (0, 3, 2)]


def test_a_bound_holds_to_rounding() -> None:
    rows = {"weight": torch.randn(64, 300, generator=torch.Generator().manual_seed(0)) * 10}
    largest = float(clip_rows(rows, 1.0, Coordinates(100.0))["weight"].abs().max())
    assert largest <= 0.1 * (1 + gamma(2))


@pytest.mark.parametrize("truncation", [0.99, 0.0, -1.0, math.inf, math.nan])
def test_a_truncation_below_one_is_refused(truncation: float) -> None:
    with pytest.raises(ParamsError, match=r"truncation .* is not a finite number >= 1"):
        Coordinates(truncation)
