"""What a GPU computes is what the processor computes, and no less private."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from dpmix.models.networks import build_network
from dpmix.params.models import WideResNetSpec
from dpmix.privacy.backend_choice import choose_backend
from dpmix.privacy.clipping import clipped_sum
from dpmix.privacy.linear_heads import append_one, head_clipped_sum
from dpmix.privacy.loss import ExampleLoss
from dpmix.privacy.modes import AutoS, Flat, PerLayer
from dpmix.training.physical_batches import PhysicalBatches
from tests.needs import GPU, needs
from tests.privacy.architectures import flat, naive_clipped_sum, parameters

pytestmark = needs(GPU, torch.cuda.is_available())

N, K, SIDE, CLASSES = 6, 3, 16, 5
SPEC = WideResNetSpec(kind="wide-resnet", name="net", label="Net", depth=10, width=2, resolution=SIDE)
CLIP_NORM = 0.5


@pytest.fixture
def all_bits() -> Iterator[None]:
    """Convolutions in float32 with all their bits, where torch's default on a GPU is TF32."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def problem(channels_last: bool = False) -> tuple[torch.nn.Module, Tensor, Tensor]:
    module = build_network(SPEC, channels=3, classes=CLASSES, seed=0)
    draws = torch.Generator().manual_seed(1)
    views = torch.rand(N, K, 3, SIDE, SIDE, generator=draws)
    targets = torch.softmax(3 * torch.randn(N, K, CLASSES, generator=draws), dim=-1)
    return module.to(memory_format=torch.channels_last) if channels_last else module, views, targets


def distance(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Relative to the norm of what is expected."""
    moved = {name: value.cpu() for name, value in found.items()}
    return float((flat(moved) - flat(expected)).norm() / flat(expected).norm())


# The images are noise: group norm takes away what they share, and a rounding of 2**-9 in bfloat16 grows to a tenth of
# the gradient. Float16 rounds by 2**-12, and has no numbers for some of the smallest gradients.
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 2e-4), ("float16", 0.1), ("bfloat16", 0.3)])
@pytest.mark.parametrize("backend", ["sequential", "vectorized", "ghost", "reference"])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.usefixtures("all_bits")
def test_backends_agree_with_a_loop_in_float64(
    backend: str, precision: str, tolerance: float, channels_last: bool
) -> None:
    module, views, targets = problem(channels_last)
    params = parameters(module)
    expected, norms = naive_clipped_sum(module, params, views, targets, CLIP_NORM)
    assert (norms > CLIP_NORM).any()
    module, params = module.cuda(), {name: value.cuda() for name, value in params.items()}
    found = clipped_sum(
        ExampleLoss(module), params, views.cuda(), targets.cuda(), CLIP_NORM, backend=backend, precision=precision
    )
    assert all(value.is_cuda and value.dtype == torch.float32 for value in found.total.values())
    assert distance(found.total, expected) < tolerance
    assert float(((found.norms.cpu() - norms) / norms).abs().max()) < tolerance


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("mode", [Flat(), AutoS(), PerLayer()], ids=["flat", "auto-s", "per layer"])
def test_no_example_moves_the_sum_by_more_than_c(mode: object, precision: str) -> None:
    """Whatever the precision: with TF32 in convolutions, as torch has it, and in products, if the caller wants it."""
    module, views, targets = problem()
    module, views, targets = module.cuda(), views.cuda(), targets.cuda()
    views[0] = torch.nan
    views[1] *= 1e4
    torch.set_float32_matmul_precision("high")
    try:
        moves = [
            clipped_sum(
                ExampleLoss(module), parameters(module), views[[one]], targets[[one]], CLIP_NORM,
                mode=mode, precision=precision,
            )
            for one in range(N)
        ]  # fmt: skip
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    lengths = [float(flat(move.total).norm()) for move in moves]
    assert lengths[0] == 0
    assert max(lengths) <= CLIP_NORM * (1 + 1e-5)
    assert max(lengths[2:]) > 0.5 * CLIP_NORM


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("backend", ["sequential", "vectorized", "ghost", "reference"])
def test_it_repeats_bit_for_bit(backend: str, precision: str) -> None:
    module, views, targets = problem()
    module, views, targets = module.cuda(), views.cuda(), targets.cuda()
    first, *others = (
        flat(
            clipped_sum(
                ExampleLoss(module), parameters(module), views, targets, CLIP_NORM, backend=backend, precision=precision
            ).total
        )
        for _ in range(6)
    )
    assert [torch.equal(first, other) for other in others] == [True] * 5


def test_what_is_chosen_on_a_gpu() -> None:
    module, views, _ = problem()
    assert choose_backend(module.cuda(), views.cuda()) == "vectorized"


def test_heads_have_all_bits_of_float32() -> None:
    """TF32 would be off by 1e-3, and bfloat16 by more."""
    draws = torch.Generator().manual_seed(0)
    features = append_one(torch.randn(9, 7, 300, generator=draws) / 300**0.5)
    targets = torch.softmax(torch.randn(9, 7, 40, generator=draws), dim=-1)
    weights = torch.randn(5, 40, 301, generator=draws)
    clip_norms = torch.tensor([0.01, 0.1, 0.3, 1.0, 1e4])
    expected, lengths = head_clipped_sum(features.double(), targets.double(), weights.double(), clip_norms.double())
    torch.set_float32_matmul_precision("high")
    try:
        with torch.autocast("cuda", torch.bfloat16):
            total, norms = head_clipped_sum(features.cuda(), targets.cuda(), weights.cuda(), clip_norms.cuda())
    finally:
        torch.set_float32_matmul_precision("highest")
    assert float((norms.cpu() / lengths - 1).abs().max()) < 1e-5
    for found, wanted in zip(total.cpu(), expected, strict=True):
        assert float((found - wanted).norm() / wanted.norm()) < 1e-5


def test_a_physical_batch_that_does_not_fit_is_halved() -> None:
    """The GPU's own error: each unit asks for a third of its memory, and gives it back."""
    third = torch.cuda.get_device_properties(0).total_memory // 3
    batches, parts = PhysicalBatches(8), []

    def compute(part: np.ndarray) -> int:
        held = [torch.empty(third, dtype=torch.uint8, device="cuda") for _ in part]
        parts.append(part.tolist())
        return len(held)

    assert sum(batches.run(np.arange(5), compute)) == 5
    assert batches.size in (1, 2)  # how much others leave of the memory is not ours to say
    assert sorted(unit for part in parts for unit in part) == list(range(5))
