"""Encoders that somebody has in a folder, in the format of another library: `folder/<architecture of that library>`.

`EncoderSpec.folder` says where it lies, and `weights` is the start of its weights' SHA-256: a hash of what is computed
holds the content and not the place, and what is handed out does not tell the place either.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from dpmix.errors import DataError, ParamsError
from dpmix.files import read_object, write_json
from dpmix.models.libraries.base import EncoderLibrary, noted_side, write_side
from dpmix.params.models import EncoderSpec
from dpmix.params.registries import encoder_libraries, encoder_library
from dpmix.seals import sealed_directory

if TYPE_CHECKING:
    import torch
    from torch import nn

_DIGITS = 16  # hexadecimal, of a SHA-256


class Folder(EncoderLibrary):
    """Copies of folders. A copy has the files of the library whose format it is, and a note that it is a copy."""

    what, prefix, has_text = "encoder in a folder", "folder/", False
    config_file = weights_file = "copy.json"

    @override
    def architectures(self) -> Sequence[str]:
        return ()

    @override
    def weights(self, architecture: str) -> Sequence[str]:
        return ()

    @override
    def check(self, encoder: EncoderSpec, said: str = "") -> None:
        where = said or f"params.yaml: models.{encoder.name}"
        if encoder.folder is None:
            raise ParamsError(f"{where}: {encoder.architecture} does not say where it lies; add folder: <its folder>")
        held = weights_in(Path(encoder.folder))
        if encoder.weights != held:
            raise ParamsError(f"{where}: the weights in {encoder.folder} are {held}, not {encoder.weights}; correct it")

    @override
    def fetch(self, encoder: EncoderSpec, out: Path) -> None:
        self.check(encoder)
        source = Path(encoder.folder or "")
        library = format_of(source)
        with sealed_directory(out) as folder:
            for name in (library.config_file, library.weights_file):
                shutil.copyfile(source / name, folder / name)
            write_json(folder / self.config_file, {"weights": encoder.weights})
            write_side(folder, encoder.side or noted_side(source))

    @override
    def load(self, directory: Path, side: int | None = None) -> dict[str, Any]:
        return format_of(directory).load(directory, side)

    @override
    def skeleton(
        self, architecture: str, device: "torch.device", side: int | None = None
    ) -> "tuple[nn.Module, nn.Module, int]":
        held = architecture.removeprefix(self.prefix)
        return encoder_library(held).skeleton(held, device, side)


FOLDER = Folder()


def format_of(folder: Path) -> EncoderLibrary:
    """The library in whose format a folder is.

    Raises:
        DataError: if it is in none's.
    """
    libraries = [one for one in encoder_libraries() if not isinstance(one, Folder)]
    for library in libraries:
        if (folder / library.config_file).is_file() and (folder / library.weights_file).is_file():
            return library
    pairs = " or ".join(dict.fromkeys(f"{one.config_file} with {one.weights_file}" for one in libraries))
    raise DataError(f"{folder} holds no encoder: there is no {pairs}; name the folder that holds them")


def architecture_in(folder: Path) -> str:
    """What `EncoderSpec.architecture` says of the encoder in a folder; `folder/custom` for one that has no name."""
    library = format_of(folder)
    entry = "architecture" if library.prefix else "model_cfg"
    said = read_object(folder / library.config_file, "fetch the encoder again", (entry,))
    if library.prefix:
        return f"{FOLDER.prefix}{library.prefix}{said['architecture']}"
    import open_clip

    from dpmix.models.small_encoders import ARCHITECTURES, configuration

    towers = {name: configuration(name) for name in ARCHITECTURES}
    towers |= {name: open_clip.get_model_config(name) for name in open_clip.list_models()}
    vision = said["model_cfg"]["vision_cfg"]
    return FOLDER.prefix + next((name for name, one in towers.items() if one["vision_cfg"] == vision), "custom")


def weights_in(folder: Path) -> str:
    """What `EncoderSpec.weights` says of the encoder in a folder."""
    import hashlib

    with (folder / format_of(folder).weights_file).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]
