"""Converts operations to hours: by a GPU's published peak times a given utilisation, or by a measured speed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dpmix.artefacts.experiment import Experiment
from dpmix.errors import ParamsError, known, suggestion

if TYPE_CHECKING:
    from dpmix.costs.operations import Costs
from dpmix.costs.estimate import Estimate
from dpmix.costs.operations import Costs


@dataclass(frozen=True)
class Gpu:
    """A GPU's published peak speeds without sparsity, in TFLOP/s.

    Attributes:
        half: in bfloat16 with float32 accumulation (float16 on GPUs before Ampere), used for frozen networks.
        single: in TF32, or float32 on GPUs without it, used for networks trained from scratch.
    """

    half: float
    single: float


# NVIDIA's data sheets.
GPUS = {
    "a10": Gpu(125, 62.5),
    "a100": Gpu(312, 156),
    "a6000": Gpu(154.8, 77.4),
    "h100": Gpu(989, 494),
    "h100-pcie": Gpu(756, 378),
    "h200": Gpu(989, 494),
    "l4": Gpu(121, 60),
    "l40s": Gpu(362, 183),
    "rtx3090": Gpu(71, 35.6),
    "rtx4090": Gpu(165.2, 82.6),
    "t4": Gpu(65, 8.1),
    "v100": Gpu(125, 15.7),
}


@dataclass(frozen=True)
class Speed:
    """How fast the models run.

    Attributes:
        gpu: its published peaks.
        utilization: the share of the peak that is reached, in (0, 1].
        measured: images per second by model, used instead of peak and utilisation; for a network from scratch, images
            trained on per second.
        achieved: TFLOP/s of all models that are not in `measured`, used instead of peak and utilisation.
    """

    gpu: Gpu
    utilization: float = 0.4
    measured: Mapping[str, float] = field(default_factory=dict)
    achieved: float | None = None

    def per_second(self, model: str, costs: "Costs") -> float:
        """Floating-point operations per second of one model."""
        if model in self.measured:
            return self.measured[model] * costs.unit(model)
        if self.achieved is not None:
            return self.achieved * 1e12
        peak = self.gpu.single if costs.from_scratch(model) else self.gpu.half
        return peak * 1e12 * self.utilization

    def hours(self, estimate: Estimate, costs: "Costs") -> dict[str, float]:
        """GPU hours by model. Models of unknown cost that were not measured are left out."""
        made: dict[str, float] = {}
        for model, passes in estimate.passes.items():
            if model in estimate.flops:
                made[model] = estimate.flops[model] / self.per_second(model, costs) / 3600
            elif model in self.measured:
                made[model] = passes / self.measured[model] / 3600
        return made


def run_hours(experiment: Experiment, speed: Speed, costs: Costs) -> float:
    """GPU hours of one run by itself. Other heads on the same views share them."""
    alone = Estimate(experiment.method)
    alone.add_streams([[experiment]], costs)
    return sum(speed.hours(alone, costs).values())


# Reading the command's options ------------------------------------------------------------------------------------
def speed(gpu: str, utilization: float, throughput: Sequence[str], costs: Costs) -> Speed:
    """The `Speed` that the options of `dpmix plan` describe.

    Args:
        gpu: a name in `GPUS`.
        utilization: the share of the peak that is reached, in (0, 1].
        throughput: each `MODEL=IMAGES_PER_SECOND`, or a number, the TFLOP/s of all other models.
        costs: has the names of models.

    Raises:
        ParamsError: for an unknown GPU or model, or a text that is not such a number.
    """
    if gpu not in GPUS:
        raise ParamsError(f"unknown GPU {gpu!r}, and no --throughput as measured for it; {suggestion(gpu, GPUS)}")
    if not 0 < utilization <= 1:
        raise ParamsError(f"utilization {utilization:g} is not in (0, 1]; give one such as 0.4")
    measured: dict[str, float] = {}
    achieved = None
    for text in throughput:
        model, equals, rate = text.rpartition("=")
        try:
            value = float(rate)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise ParamsError(
                f"throughput {text!r} is not MODEL=IMAGES_PER_SECOND or a number of TFLOP/s above 0; write one, "
                "such as vit-b-16=2900"
            )
        if equals:
            measured[known(model, costs.names(), "model", "--throughput")] = value
        else:
            achieved = value
    return Speed(GPUS[gpu], utilization, measured, achieved)
