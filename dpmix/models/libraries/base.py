"""`EncoderLibrary`: all that depends on which library an encoder comes from.

A library is one class below it, in a file of its own, and its name in `dpmix.params.registries`. Files of libraries are
read whenever params are, so they import what is heavy (torch, the library itself) inside functions.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dpmix.data.class_names import prompt_names
from dpmix.errors import DataError, ParamsError, nearest, one_line, suggestion
from dpmix.files import read_object, write_json
from dpmix.hub import refusal
from dpmix.network import full_disk
from dpmix.params.models import EncoderSpec
from dpmix.params.registries import encoder_libraries
from dpmix.progress import say
from dpmix.seals import read_record, write_record

if TYPE_CHECKING:
    import torch
    from torch import nn

_SIDE_FILE, _CAPTIONS_FILE = "side.json", "captions.json"


class NotFetched(DataError):
    """Weights that could not be downloaded.

    Args:
        message: what happened, and what to do about it where params.yaml names the encoder.
        what: the beginning of it: which weights, and why not.
        remedy: what to do about that reason, if there is anything.
        repository: on the Hugging Face hub, if they are there in the library's format, as a folder that can be copied.
    """

    def __init__(self, message: str, what: str = "", remedy: str = "", repository: str = "") -> None:
        super().__init__(message)
        self.what, self.remedy, self.repository = what, remedy, repository


class EncoderLibrary(ABC):
    """Names, download, files on disk and bare architectures of a library's encoders.

    Attributes:
        what: what messages call one of its architectures, such as "timm model".
        prefix: how `architecture` begins in params.yaml if it is one of this library's, such as "timm/"; may be empty.
        has_text: whether a text tower comes with its encoders, for zero-shot classification.
        config_file: the file of an encoder's folder that tells it from another library's.
        weights_file: the file of the same folder that holds the weights.
    """

    what: ClassVar[str]
    prefix: ClassVar[str]
    has_text: ClassVar[bool]
    config_file: ClassVar[str]
    weights_file: ClassVar[str]

    def owns(self, architecture: str) -> bool:
        """Whether an architecture that is written so, existing or misspelt, is to be looked up in this library."""
        return architecture.startswith(self.prefix)

    @abstractmethod
    def architectures(self) -> Sequence[str]:
        """All its architectures, without the prefix."""

    @abstractmethod
    def weights(self, architecture: str) -> Sequence[str]:
        """The tags of all weights of one of its architectures, which is given without the prefix."""

    @abstractmethod
    def fetch(self, encoder: EncoderSpec, out: Path) -> None:
        """Download an encoder, or train it, and write it to the folder `out`, which then needs no network to be read.

        The folder says the side that the encoder sees (`write_side`), if it is not its own. If a file
        `<out>.safetensors` exists, libraries that download take the weights from there, for machines without network.

        Raises:
            ParamsError: as `check`.
            DataError: if the weights cannot be had; the message says which file to put where.
        """

    @abstractmethod
    def load(self, directory: Path, side: int | None = None) -> dict[str, Any]:
        """Read a folder that `fetch` wrote, on the CPU and without network.

        Args:
            directory: the folder.
            side: of the images that the encoder is to see, in pixels; None is the encoder's own.

        Returns:
            The arguments of `dpmix.models.encoder.Encoder` that come from the files: `visual`, `resolution`, `mean`,
            `std`, `interpolation`, and `text` if there is a text tower.

        Raises:
            Exception: whatever the library raises for files that are damaged or do not fit together, or an encoder that
                cannot see that side.
        """

    @abstractmethod
    def skeleton(
        self, architecture: str, device: "torch.device", side: int | None = None
    ) -> "tuple[nn.Module, nn.Module, int]":
        """Build an architecture without weights, to count its operations and parameters.

        Args:
            architecture: as in params.yaml, with the prefix.
            device: where parameters are; on torch's meta device they take no memory.
            side: as for `load`.

        Returns:
            The whole model, its image tower, and the side in pixels of the images that it takes.

        Raises:
            ParamsError: if there is no such architecture.
        """

    def check(self, encoder: EncoderSpec, said: str = "") -> None:
        """Check that an encoder's architecture and weights exist, before anything is downloaded or trained for it.

        Also that it can see images of its `side`, if it has one.

        Args:
            encoder: as params.yaml or a command describes it.
            said: the option that named it, for messages; by default they name its keys in params.yaml.

        Raises:
            ParamsError: if not; for a name that there is not, the message lists the nearest.
        """
        place = said or f"params.yaml: models.{encoder.name}"
        self.check_architecture(encoder.architecture, said or f"{place}.architecture")
        tags = self.weights(encoder.architecture.removeprefix(self.prefix))
        if encoder.weights not in tags:
            where, name = said or f"{place}.weights", encoder.architecture
            if not tags:
                raise ParamsError(f"{where}: {name} has no pretrained weights; choose another architecture")
            raise ParamsError(
                f"{where}: {name} has no weights called {encoder.weights!r}; "
                f"the nearest are {', '.join(_near(encoder.weights, tags))}; correct it"
            )
        if encoder.side is not None:
            self._check_side(encoder, said or f"{place}.side")

    def _check_side(self, encoder: EncoderSpec, where: str) -> None:
        """Check that the architecture can be built for images of the encoder's `side`, and run on them."""
        import torch

        try:
            _, visual, side = self.skeleton(encoder.architecture, torch.device("meta"), encoder.side)
            with torch.no_grad():
                visual(torch.empty(2, 3, side, side, device="meta"))
        except Exception as error:  # each architecture has its own words for a side that it cannot see
            raise ParamsError(
                f"{where}: {encoder.architecture} cannot see images of {encoder.side} "
                f"pixels ({one_line(error, 120)}); give another side, or leave it out"
            ) from error

    def check_architecture(self, architecture: str, where: str = "") -> None:
        """Check that an architecture exists.

        Args:
            architecture: as in params.yaml, with the prefix.
            where: the place that says so, such as a key in params.yaml, if one does, for the message.

        Raises:
            ParamsError: if it does not; the message lists the nearest names.
        """
        name, names = architecture.removeprefix(self.prefix), self.architectures()
        if name not in names:
            place, remedy = (f"{where}: ", "correct it") if where else ("", "correct params.yaml")
            near = ", ".join(_near(name, names) if self.prefix else _near(name, _all_names(name)))
            raise ParamsError(f"{place}no {self.what} is called {name!r}; the nearest are {near}; {remedy}")


def _all_names(name: str) -> list[str]:
    """All architectures as params.yaml writes them; those with a prefix, which take seconds to list, if `name` has one.

    A name without a known prefix may be meant for any library.
    """
    libraries = [library for library in encoder_libraries() if not library.prefix or "/" in name]
    return [library.prefix + one for library in libraries for one in library.architectures()]


def _near(name: str, names: Sequence[str]) -> list[str]:
    """The five of `names`, of which there may be a thousand, that are nearest to `name`; any five if none is near."""
    return nearest(name, names, most=5, likeness=0.3) or list(names)[:5]


def write_side(folder: Path, side: int | None) -> None:
    """Note in an encoder's folder the side in pixels of the images that it sees; None, its own, needs no note."""
    if side is not None:
        write_json(folder / _SIDE_FILE, {"side": side})


def noted_side(folder: Path) -> int | None:
    """What `write_side` noted.

    Raises:
        DataError: if the note is damaged.
    """
    note = folder / _SIDE_FILE
    if not note.is_file():
        return None
    side = read_object(note, "fetch the encoder again").get("side")
    if not isinstance(side, int) or side < 1:
        raise DataError(f"{note} does not say how many pixels a side the encoder sees; fetch the encoder again")
    return side


def write_captions(folder: Path, classes: Sequence[str]) -> None:
    """Note in an encoder's folder the names of all classes that its text tower was trained with, in their order."""
    write_record(folder / _CAPTIONS_FILE, {"classes": list(classes)})


def tell_of_other_captions(folder: Path, classes: Sequence[str]) -> None:
    """Say so where an encoder never saw the names of these classes, if its folder says which it was trained with.

    Their captions are noise to its text tower, so that its zero-shot accuracy is about chance; images it sees as ever.
    """
    note = folder / _CAPTIONS_FILE
    if not note.is_file():
        return
    known = prompt_names(read_record(note)["classes"])
    if strange := [name for name in prompt_names(classes) if name not in known]:
        say(
            f"{folder} was trained on captions of {len(known)} classes, and {strange[0]!r} is none of them: its "
            f"zero-shot accuracy will be about chance ({suggestion(strange[0], known)})"
        )


def put_by_hand(out: Path) -> Path:
    """The file from which the weights of the encoder folder `out` are taken, if a person has put it there."""
    return out.with_name(out.name + ".safetensors")


def not_fetched(
    error: Exception, name: str, source: str, out: Path, repository: str = "", *, as_folder: bool = True
) -> DataError:
    """What to raise when weights could not be had.

    Args:
        error: what was raised instead of weights.
        name: what the weights are called in the message.
        source: the file that a person would fetch, and from where.
        out: the encoder's folder.
        repository: on the Hugging Face hub, if they are from there.
        as_folder: whether the repository is in the library's format, with `config_file` and `weights_file`.
    """
    by_hand = put_by_hand(out)
    if full_disk(error):
        return DataError(f"no space left for the weights of {out}; free some and run the same command again")
    if by_hand.is_file():
        return DataError(f"{by_hand} does not hold the weights of {name}; fetch the file again")
    reason, remedy = refusal(error, repository)
    what = f"the weights of {name} could not be downloaded ({reason})"
    return NotFetched(
        f"{what}; {remedy}{'; or ' if remedy else ''}on a machine with network get {source}, put it at {by_hand}, and "
        "run this again",
        what,
        remedy,
        repository if as_folder else "",
    )
