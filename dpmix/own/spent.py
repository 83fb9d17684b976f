"""The record of what was spent on private images: a file beside them, `<images>.dpmix-spent.json`.

Whoever gets several models can combine them, and a run that was thrown away has taken its steps too. So every training
run on the same images is entered before its first step, and then for steps *before* they are executed: a run that is
killed at any moment is counted with at least what it did. ε of all entries together is that of one run that takes all
their steps (`dpmix.release.statement.joint_epsilons`).

The place decides which images are "the same" (`dpmix.own.place`): the file lies beside them. Contents do not. A digest
of the files would be another one as soon as a single image is added, and the ε of all images that stayed would start
from zero again. Records of folders around or within are added up. A copy elsewhere has a record of its own, unless both
name one file (`--ledger`).

Of runs that go on at once each must account for the others. So a run that may still go on, because its work folder is
there, counts with all the steps that it will have executed; one whose work folder is gone with those that it did.
"""

import contextlib
import math
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from dpmix.data.listing import Listing
from dpmix.errors import DataError, DpmixError, one_line
from dpmix.files import lock, read_json, write_json
from dpmix.own.place import other_places, place_of
from dpmix.params.declared import Spec
from dpmix.privacy.accounting import Steps, rounded_up
from dpmix.release.statement import Statement, joint_epsilons

Unit = Literal["image", "person"]


class Run(Spec):
    """One training run in the record.

    Attributes:
        key: its name in the record, drawn at random.
        model: the name of the folder that it makes.
        begun: the day on which it began.
        state: `running` until it is done (also after a kill); `research` if it had seeds, so that no ε covers it.
        unit: who is protected.
        population: N, the published number of units.
        noise_multiplier: σ of each step.
        sampling_rate: q of each step.
        planned: T, the steps of a whole run.
        steps: how many were executed at most, those that were lost in a kill and done again included.
        lost: how many were lost in a kill, as far as is known.
        work: the folder with which an unfinished run can go on; empty for a run of an older record.
        delta: δ.
    """

    key: str
    model: str
    begun: str
    state: Literal["running", "finished", "research"] = "running"
    unit: Unit
    population: int = Field(gt=0)
    noise_multiplier: float = Field(gt=0, allow_inf_nan=False)
    sampling_rate: float = Field(gt=0, le=1)
    planned: int = Field(gt=0)
    steps: int = Field(ge=0)
    lost: int = Field(default=0, ge=0)
    work: str = ""
    delta: float = Field(gt=0, lt=1)

    @property
    def counted(self) -> int:
        """The steps to account for: those executed at most, and of a run that may go on also those to come."""
        goes_on = self.state == "running" and self.work and Path(self.work).exists()
        return max(self.steps, self.lost + self.planned) if goes_on else self.steps

    @property
    def covered(self) -> bool:
        """Whether ε is about it: it executed steps, or will, without a seed."""
        return self.state != "research" and self.counted > 0

    def statement(self) -> Statement:
        """The steps to account for, as a statement that can be composed with others."""
        rows = [Steps(self.noise_multiplier, self.sampling_rate, self.counted)]
        return Statement(self.model, self.population, rows, {}, self.delta, unit=self.unit)


class Measured(Spec):
    """A test accuracy that was released with noise: ε of the test images, without any δ.

    Attributes:
        model: the name of the model's folder.
        unit: one of whose images may be changed: an image, or a person.
        epsilon: ε of the noisy count.
    """

    model: str
    unit: Unit
    epsilon: float = Field(gt=0, allow_inf_nan=False)


class _Content(Spec):
    runs: tuple[Run, ...] = ()
    measured: tuple[Measured, ...] = ()


class Record:
    """The record of what was spent on some images; every change is on disk when its call returns.

    Args:
        path: the file; it need not exist.
        others: further records, of folders around or within, which are read and never changed.
    """

    def __init__(self, path: Path, others: Iterable[Path] = ()) -> None:
        self.path = Path(path)
        self._others = tuple(other for other in others if other != self.path)

    @classmethod
    def of(cls, images: Path, listing: Listing, ledger: Path | None = None) -> "Record":
        """The record of these images, with those of folders around them and within.

        Args:
            images: as `train` is given them.
            listing: what they are.
            ledger: another file for their record.

        Raises:
            DataError: if there is no place for it.
        """
        return cls(ledger or place_of(images), other_places(listing))

    def runs(self) -> tuple[Run, ...]:
        """All training runs on some of the images, each record's in the order in which they began, this one's last.

        Raises:
            DataError: if a file is damaged.
        """
        everything = [run for other in self._others for run in Record(other).runs()] + list(self._content().runs)
        return tuple({run.key: run for run in everything}.values())

    def measured(self) -> tuple[Measured, ...]:
        """All released test accuracies."""
        return self._content().measured

    def begin(self, run: Run) -> Run:
        """Enter a run under a new key, before its first step.

        Raises:
            DpmixError: if the file cannot be written.
        """
        entered = run.model_copy(update={"key": secrets.token_hex(4), "begun": time.strftime("%F")})
        with self._changed() as content:
            content.append(entered)
        return entered

    def count(self, key: str, steps: int, state: str = "running", lost: int = 0) -> None:
        """Raise the number of steps that a run has executed at most, and that it lost; neither is ever lowered.

        Raises:
            DataError: if the run is not in the file any more.
        """
        with self._changed() as runs:
            places = [place for place, run in enumerate(runs) if run.key == key]
            if not places:
                raise DataError(f"{self.path} has lost the run {key}; put back the file that had it")
            (place,) = places
            before = runs[place]
            raised = {"steps": max(before.steps, steps), "lost": max(before.lost, lost), "state": state}
            runs[place] = before.model_copy(update=raised)

    def add(self, measured: Measured) -> None:
        """Enter a test accuracy before it is released."""
        with self._locked():
            content = self._content()
            self._write(content.model_copy(update={"measured": (*content.measured, measured)}))

    @contextlib.contextmanager
    def _changed(self) -> Iterator[list[Run]]:
        with self._locked():
            content = self._content()
            runs = list(content.runs)
            yield runs
            self._write(content.model_copy(update={"runs": tuple(runs)}))

    def _write(self, content: _Content) -> None:
        try:
            write_json(self.path, content.model_dump(mode="json"))
        except DpmixError as error:
            raise DpmixError(
                f"what is spent on the images cannot be recorded in {self.path} ({one_line(error)}); name a file that "
                "can be written, the same one for all runs on these images: --ledger FILE"
            ) from error

    def _content(self) -> _Content:
        if not self.path.exists():
            return _Content()
        try:
            return _Content.model_validate(read_json(self.path))
        except (ValidationError, DpmixError) as error:
            raise DataError(
                f"{self.path}, the record of what was spent on these images, is damaged; put back an older copy of "
                "it, or account for what it held by hand"
            ) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among processes, so that of two runs that begin at once neither is lost."""
        try:
            folder = os.open(self.path.parent, os.O_RDONLY)
        except OSError as error:
            raise DpmixError(
                f"{self.path.parent} cannot be opened ({error.strerror}); name a file elsewhere: --ledger FILE"
            ) from error
        try:
            lock(folder)
            yield
        finally:
            os.close(folder)


def together(runs: Iterable[Run], unit: Unit, more: Sequence[Statement] = ()) -> tuple[dict[str, float], float]:
    """ε by accountant, and δ, of what was spent on one image or one person by these runs.

    Args:
        runs: of the record. Those for another unit are not counted, nor is research, which no ε covers.
        unit: an image, or a person with all images.
        more: what is about to be spent besides.

    Returns:
        No ε and δ = 0 if nothing was spent.
    """
    statements = [run.statement() for run in runs if run.covered and run.unit == unit] + list(more)
    if not statements:
        return {}, 0.0
    return joint_epsilons(statements), max(one.delta for one in statements)


def so_far(runs: tuple[Run, ...], unit: Unit, without: str = "") -> str | None:
    """What the record says was spent already, in words; None if nothing was.

    Args:
        runs: of the record.
        unit: whose ε is wanted.
        without: the key of a run that is left out.
    """
    counted = [run for run in runs if run.key != without]
    covered = [run for run in counted if run.covered and run.unit == unit]
    other = [run for run in counted if run.covered and run.unit != unit]
    research = sum(run.state == "research" for run in counted)
    parts = []
    if covered:
        joint, delta = together(covered, unit)
        unfinished = sum(run.state == "running" for run in covered)
        of = f", {unfinished} of them unfinished" if unfinished else ""
        runs_word = "run" if len(covered) == 1 else "runs"
        parts.append(f"spent so far on these images: {in_words(joint, delta)} ({len(covered)} {runs_word}{of})")
    if other:
        parts.append(f"{len(other)} more with ε for one {other[0].unit}, which does not add up with it")
    if research:
        parts.append(f"{research} for research, which no ε covers")
    return ", and ".join(parts) or None


def in_words(epsilons: Mapping[str, float], delta: float) -> str:
    """The ε of the tightest accountant, rounded up: `ε = 5.38 at δ = 1e-05`."""
    return f"ε = {rounded_up(tightest(epsilons), 2)} at δ = {delta:g}"


def tightest(epsilons: Mapping[str, float]) -> float:
    """ε by the tightest accountant, or by the best there is; infinite if none could evaluate it."""
    return epsilons.get("pld", min(epsilons.values(), default=math.inf))
