"""A specification of what is computed about the paper's privacy, without training: ε of one of its runs."""

from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from dpmix.artefacts.base import SEMANTICS, Artefact, JobShare, number
from dpmix.params.settings import Epsilon
from dpmix.privacy.published_procedure import Batches, Procedure, RateOf


class PublishedPrivacy(Artefact):
    """ε of a run as the paper's programs calibrate and execute it, from public sizes alone.

    The fields are those of `dpmix.privacy.published_procedure.Procedure`. The file is JSON: `noise_multiplier`,
    `sampling_rate`, `divisor`, `steps` (`calibrated` and `taken`), and `epsilon` by what is counted.
    """

    folder: ClassVar[str] = "privacy"
    semantics: int = SEMANTICS
    population: int
    batch_size: int
    epochs: int
    epsilon: Epsilon
    delta: float
    rate: RateOf
    batches: Batches
    microbatches: bool

    def procedure(self) -> Procedure:
        """What is computed with.

        Raises:
            ParamsError: for sizes that are no training.
        """
        return Procedure(**self.model_dump(exclude={"semantics"}))

    @override
    def job_share(self) -> JobShare:
        return JobShare("privacy", "", "", "")  # one job for all, since each takes about a second

    @override
    def rooms(self) -> tuple[str, ...]:
        return ("makers.runs", "artefacts.published_privacy", "privacy")

    @override
    def path(self, scale: str) -> Path:
        name = f"n{self.population}-b{self.batch_size}-e{self.epochs}-eps{number(self.epsilon)}-{self.hash}.json"
        return Path("results", scale, self.folder, name)
