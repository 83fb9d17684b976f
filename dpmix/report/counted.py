"""The least time that a run can take: its operations at the published peak speed of a GPU."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dpmix.artefacts.experiment import Experiment
from dpmix.catalogue.catalogue import Catalogue
from dpmix.costs.operations import Costs
from dpmix.costs.speed import GPUS, Speed, run_hours

PAPERS_GPU = "a100"
"""That of the paper's Table 13."""


@dataclass(frozen=True)
class Limit:
    """A time that is counted, not measured.

    Attributes:
        minutes: the operations of one run by itself, divided by the peak speed.
        gpu: whose peak it is, a name in `GPUS`.
    """

    minutes: float
    gpu: str


def gpu_of(hardware: str) -> str | None:
    """The name in `GPUS` of what a run was made on; None for a processor, and for a GPU whose peak is not known.

    Args:
        hardware: as the driver calls it, such as `NVIDIA H100 80GB HBM3`.
    """
    words = re.split(r"[^a-z0-9]+", hardware.lower().replace("rtx ", "rtx"))
    if {"laptop", "super", "ti"} & set(words):  # other chips than the card of that name
        return None
    named = next((name for name in GPUS if name in words or f"rtx{name}" in words), None)
    return f"{named}-pcie" if named is not None and "pcie" in words and f"{named}-pcie" in GPUS else named


class Limits:
    """The limits of a scale's runs; the operations of each model are counted once."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._costs = Costs(catalogue)

    def of(self, run: Experiment, hardware: Iterable[str], printed: bool) -> Limit | None:
        """The limit of a run on what a cell's runs were made on, or else on the paper's GPU.

        Args:
            run: one of the cell's.
            hardware: of all of them.
            printed: whether the paper has a time beside the cell's, which its GPU's limit belongs to.

        Returns:
            None where neither is known.
        """
        used = {gpu_of(one) for one in hardware}
        gpu = used.pop() if len(used) == 1 else None
        if gpu is None and not printed:
            return None
        name = gpu or PAPERS_GPU
        return Limit(60 * run_hours(run, Speed(GPUS[name], utilization=1.0), self._costs), name)
