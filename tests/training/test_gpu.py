"""A run on a GPU is the run on the processor, up to rounding: same sample, same views, same noise."""

from pathlib import Path

import pytest
import torch

from dpmix.models.encoder_files import load_encoder
from dpmix.models.features import Featurizer
from dpmix.privacy.noise import SeededNoise
from dpmix.training.checkpoint import Checkpoint
from dpmix.training.data import load_data
from dpmix.training.heads import Head, train_heads
from dpmix.training.jax_start import start
from dpmix.training.scratch import train_from_scratch
from tests.needs import GPU, JAX_GPU, JAX_PRIVACY, lacks, module, needs
from tests.training.conftest import Recorder, World, plan_for

pytestmark = [
    needs(GPU, torch.cuda.is_available()),
    pytest.mark.filterwarnings("ignore"),
]
MICROBATCHES = {"microbatch_size": 2, "microbatch_mixup": "added", "k_base": 1, "k_self": 0, "method": "microbatch"}
DEVICES = ("cpu", "cuda")


class Moved(Recorder):
    """Research noise, and every noisy sum on the processor."""

    def add(self, total: torch.Tensor, std: float | torch.Tensor, *, step: int, name: str) -> torch.Tensor:
        noisy = SeededNoise(1).add(total, std, step=step, name=name)
        self.calls.append((step, name, float(std), noisy.cpu()))
        return noisy


def agree(recorders: list[Recorder], tolerance: float) -> None:
    """Relative to their length, the sums of the first step, and twenty times looser those of all steps.

    Each step starts where the last one ended, and training makes differences of rounding grow.
    """
    for steps, allowed in ((1, tolerance), (len(recorders[0].calls), 20 * tolerance)):
        cpu, gpu = (
            torch.cat([total.flatten() for at, *_, total in recorder.calls if at < steps]) for recorder in recorders
        )
        assert float(cpu.norm()) > 0
        assert float((gpu - cpu).norm() / cpu.norm()) < allowed


@pytest.mark.parametrize(
    "changes", [{}, MICROBATCHES, {"mixing": "cutmix"}], ids=["examples", "microbatches", "cutmix"]
)
def test_from_scratch(world: World, changes: dict) -> None:
    experiment, recorders = world.scratch(momentum=0.5, ema_decay=0.9, **changes), []
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for device in DEVICES:
            recorders.append(Moved([]))
            plan, data = world.plan(experiment), load_data(experiment, "demo")
            train_from_scratch(experiment, plan, data, device=device, noise=recorders[-1])
    agree(recorders, 1e-3)


@pytest.mark.slow
def test_from_scratch_in_jax(world: World) -> None:
    module("jax_privacy", JAX_PRIVACY)
    experiment, recorders = world.scratch(engine="jax"), []
    for device in reversed(DEVICES):  # JAX that was started for a processor stays there
        if start(device).platform != ("gpu" if device == "cuda" else "cpu"):
            lacks(JAX_GPU)
        recorders.append(Moved([]))
        plan, data = world.plan(experiment), load_data(experiment, "demo")
        train_from_scratch(experiment, plan, data, device=device, noise=recorders[-1])
    agree(recorders, 1e-3)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_from_scratch_in_low_precision(world: World, precision: str) -> None:
    experiment, recorder = world.scratch(precision=precision), Recorder([])
    plan, data = world.plan(experiment), load_data(experiment, "demo")
    outcome = train_from_scratch(experiment, plan, data, device="cuda", noise=recorder)
    assert outcome.ledger.steps == plan.steps
    lengths = [
        float(torch.cat([total.flatten() for at, *_, total in recorder.calls if at == step]).norm())
        for step in range(plan.steps)
    ]
    assert 0 < max(lengths) <= plan.units * plan.clip_norm * (1 + 1e-5)


def test_heads(world: World, encoder_folder: Path) -> None:
    experiment, recorders, accuracies = world.experiment(), [], []
    plan, data = plan_for(experiment.plan()), load_data(experiment, "demo")
    heads = [Head(plan, 4.0, "a"), Head(plan, 32.0, "b", momentum=0.9, weight_decay=0.01, record_magnitudes=True)]
    for device in DEVICES:
        encoder = load_encoder(encoder_folder, device, torch.float32)
        assert data.public is not None
        featurize = Featurizer.standardized(encoder, data.public, device)
        recorders.append(Moved([]))
        outcomes = train_heads(experiment, heads, data, featurize, device=device, noise=recorders[-1])
        accuracies.append([outcome.accuracy for outcome in outcomes])
    agree(recorders, 2e-3)  # the encoder's first layer is a convolution, in TF32
    assert accuracies[0] == pytest.approx(accuracies[1], abs=10)  # four of forty test images


def test_a_stream_that_was_stopped_goes_on(world: World, encoder_folder: Path, tmp_path: Path) -> None:
    experiment = world.experiment(momentum=0.5)
    plan, data = plan_for(experiment.plan()), load_data(experiment, "demo")
    featurize = Featurizer(load_encoder(encoder_folder, "cuda"))
    checkpoint, stop = Checkpoint(tmp_path / "half.safetensors", 0), plan.steps // 2

    seen: list[int] = []

    class Watched(SeededNoise):
        """The run's own noise, and what to do at a step."""

        def add(self, total: torch.Tensor, std: float | torch.Tensor, *, step: int, name: str) -> torch.Tensor:
            seen.append(step)
            if step == stop and stopping:
                raise KeyboardInterrupt
            return super().add(total, std, step=step, name=name)

    def run(checkpoint: Checkpoint | None = None) -> torch.Tensor:
        noise = Watched(experiment.seed)
        (outcome,) = train_heads(
            experiment, [Head(plan, 4.0, "a", 0.5)], data, featurize, device="cuda", noise=noise, checkpoint=checkpoint
        )
        assert outcome.ledger.steps == plan.steps
        return outcome.weights["weight"]

    stopping = False
    whole = run()
    stopping = True
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint)
    stopping = False
    seen.clear()
    again = run(checkpoint)
    assert seen[0] == stop
    torch.testing.assert_close(again, whole, rtol=1e-4, atol=1e-4)


def test_an_encoder_in_half_precision_is_near(encoder_folder: Path) -> None:
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    exact = load_encoder(encoder_folder)(images)
    found = {dtype: load_encoder(encoder_folder, "cuda", dtype)(images) for dtype in (None, torch.float16)}
    for features in found.values():
        assert features.is_cuda
        assert features.dtype == torch.float32
        assert float((features.cpu() - exact).norm() / exact.norm()) < 2e-2
    assert not torch.equal(found[None], found[torch.float16])  # bfloat16 is what a GPU that has it computes in


@pytest.mark.slow
def test_a_compiled_encoder_is_near(encoder_folder: Path) -> None:
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    exact = load_encoder(encoder_folder)(images)
    compiled = load_encoder(encoder_folder, "cuda", compiled=True)
    for count in (5, 2):  # the last batch is smaller
        features = compiled(images[:count]).cpu()
        assert float((features - exact[:count]).norm() / exact[:count].norm()) < 2e-2
