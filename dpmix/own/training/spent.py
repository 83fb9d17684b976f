"""The record of what was spent on private images: a file beside them, `<images>.dpmix-spent.json`.

Whoever gets several models can combine them, and a run that was thrown away has taken its steps too. So every training
run on the same images is entered before its first step, and then for steps *before* they are executed: a run that is
killed at any moment is counted with at least what it did. ε of all entries together is that of one run that takes all
their steps (`dpmix.release.statement.joint_epsilons`).

The place decides which images are "the same" (`dpmix.own.images.place`): the file lies beside them. Contents do not. A
digest of the files would be another one as soon as a single image is added, and the ε of all images that stayed would
start from zero again. Records of folders around or within are added up. A run on links is entered beside the folder
that they lead into as well. A copy elsewhere, by hard links too, has a record of its own, unless both name one file
(`ledger`).

Of runs that go on at once each must account for the others. So a run that may still go on, because its work folder is
there and not that of another run by now, counts with all the steps that it will have executed; one whose work folder
was deleted can execute no more, and counts with those that it did.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from dpmix.data.listing import Listing
from dpmix.errors import DataError, DpmixError, one_line
from dpmix.files import lock, read_object, write_json
from dpmix.own.images.place import linked_places, other_places, place_of
from dpmix.own.training.work_folder import BEGUN
from dpmix.params.declared import Spec
from dpmix.privacy.accounting import Steps
from dpmix.release.statement import Statement

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
        kept: the steps of the last checkpoint: one that says fewer was changed.
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
    kept: int = Field(default=0, ge=0)
    work: str = ""
    delta: float = Field(gt=0, lt=1)

    @property
    def counted(self) -> int:
        """The steps to account for: those executed at most, and of a run that may go on also those to come."""
        goes_on = self.state == "running" and self.work and _is_of(Path(self.work), self.key)
        return max(self.steps, self.lost + self.planned) if goes_on else self.steps

    @property
    def covered(self) -> bool:
        """Whether ε is about it: it executed steps, or will, without a seed."""
        return self.state != "research" and self.counted > 0

    def statement(self) -> Statement:
        """The steps to account for, as a statement that can be composed with others."""
        rows = [Steps(self.noise_multiplier, self.sampling_rate, self.counted)]
        return Statement(self.model, self.population, rows, {}, self.delta, unit=self.unit)


def _is_of(work: Path, key: str) -> bool:
    """Whether a work folder is there and may be of this run: if it says nothing yet, or nothing that can be read."""
    if not work.exists():
        return False
    try:
        return read_object(work / BEGUN).get("key", key) == key
    except DataError:
        return True


class Measured(Spec):
    """A test accuracy that was released with noise: ε of the test images, without any δ.

    Attributes:
        model: the name of the model's folder.
        unit: one of whose images may be changed: an image, or a person.
        epsilon: ε of the noisy count.
        key: its name in the record, drawn at random; empty in an older record.
    """

    key: str = ""
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
        others: further records, of folders around or within, which are read.
        also: records of folders that the images are links into: everything is entered there too.
    """

    def __init__(self, path: Path, others: Iterable[Path] = (), also: Iterable[Path] = ()) -> None:
        self.path = Path(path)
        self._also = tuple(Record(one) for one in also if one != self.path)
        read = {*others, *(one.path for one in self._also)}
        self._others = tuple(Record(one) for one in sorted(read) if one != self.path)

    @classmethod
    def of(cls, images: Path, listing: Listing, ledger: Path | None = None) -> "Record":
        """The record of these images, with those of folders around them and within, and of those that links lead into.

        Args:
            images: as `train` is given them.
            listing: what they are.
            ledger: another file for their record.

        Raises:
            DataError: if there is no place for it.
        """
        also = () if ledger else linked_places(images, listing)
        return cls(ledger or place_of(images), other_places(listing), also)

    def runs(self) -> tuple[Run, ...]:
        """All training runs on some of the images, each record's in the order in which they began, this one's last.

        Raises:
            DataError: if a file is damaged.
        """
        found: dict[str, Run] = {}
        for run in [run for one in (*self._others, self) for run in one._content().runs]:
            known = found.get(run.key)  # of a record that a kill kept from being written, the other one
            found[run.key] = run if known is None or run.counted >= known.counted else known
        return tuple(found.values())

    def measured(self) -> tuple[Measured, ...]:
        """All test accuracies that were released of some of the images; errors as of `runs`."""
        everything = [one for record in (*self._others, self) for one in record._content().measured]
        named = {one.key: one for one in everything if one.key}
        return (*named.values(), *(one for one in everything if not one.key))

    def begin(self, run: Run) -> Run:
        """Enter a run under a new key, before its first step.

        Raises:
            DpmixError: if the file cannot be written.
        """
        entered = run.model_copy(update={"key": secrets.token_hex(4), "begun": time.strftime("%F")})
        for one in (*self._also, self):
            with one._changed() as runs:
                runs.append(entered)
        return entered

    def count(self, key: str, steps: int, state: str = "running", lost: int = 0, kept: int | None = None) -> None:
        """Raise the number of steps that a run has executed at most, and that it lost; neither is ever lowered.

        Args:
            key: of the run.
            steps: executed at most.
            state: what it has become.
            lost: of these, those that no checkpoint has.
            kept: the steps of its checkpoint; None leaves what was said before.

        Raises:
            DataError: if the run is not in the file any more.
        """
        with self._changed() as runs:
            before = next((run for run in runs if run.key == key), None)
            if before is None:
                raise DataError(f"{self.path} has lost the run {key}; put back the file that had it")
            raised = {"steps": max(before.steps, steps), "lost": max(before.lost, lost), "state": state}
            if kept is not None:
                raised["kept"] = kept
            after = before.model_copy(update=raised)
            runs[runs.index(before)] = after
        # One after the other: two records may lie in one folder, which is what is locked.
        for one in self._also:
            with one._changed() as runs:
                runs[:] = [*(run for run in runs if run.key != key), after]

    def withdraw(self, key: str) -> None:
        """Take out a run that was refused before its first step; one that has executed any stays."""
        for one in (self, *self._also):
            with one._changed() as runs:
                runs[:] = [run for run in runs if run.key != key or run.steps]

    def add(self, measured: Measured) -> None:
        """Enter a test accuracy before it is released."""
        entered = measured.model_copy(update={"key": secrets.token_hex(4)})
        for one in (*self._also, self):
            with one._locked():
                content = one._content()
                one._write(content.model_copy(update={"measured": (*content.measured, entered)}))

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
                "can be written, the same one for all runs on these images: `ledger='FILE'`"
            ) from error

    def _content(self) -> _Content:
        if not self.path.exists():
            return _Content()
        return _Content.from_file(
            self.path, "it records what was spent on the images: put back an older copy, or account for it by hand"
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among processes, so that of two runs that begin at once neither is lost."""
        try:
            folder = os.open(self.path.parent, os.O_RDONLY)
        except OSError as error:
            raise DpmixError(
                f"{self.path.parent} cannot be opened ({error.strerror}); name a file elsewhere: `ledger='FILE'`"
            ) from error
        try:
            lock(folder)
            yield
        finally:
            os.close(folder)
