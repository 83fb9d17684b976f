"""Safetensors files that carry their own digest.

A sealed file says in its metadata, as `sha256`, the SHA-256 of itself with zeros in that place.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from dpmix.files import atomic_file
from dpmix.seals.files import READ_AT_A_TIME, file_digest
from dpmix.seals.records import SEAL, changed, say_unsealed

if TYPE_CHECKING:
    from torch import Tensor

_OPEN = "0" * 64


def save_tensors(path: Path, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str]) -> None:
    """Write a sealed safetensors file, whole or not at all.

    Args:
        path: the file.
        tensors: by name, on any device.
        metadata: texts by name, none of which is called `sha256`.
    """
    from safetensors.torch import save_file

    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_file(path) as temporary:
        save_file(whole, temporary, metadata={**metadata, SEAL: _OPEN})
        with temporary.open("r+b") as file:
            _sort_metadata(file)
        digest, place = _sealed(temporary, _OPEN)
        with temporary.open("r+b") as file:
            file.seek(place)
            file.write(digest.encode())


def _read_header(file: BinaryIO) -> tuple[int, dict[str, Any]]:
    """The length of a safetensors file's header in bytes, and what it says of each tensor."""
    length = int.from_bytes(file.read(8), "little")
    return length, json.loads(file.read(length))


def _sort_metadata(file: BinaryIO) -> None:
    """Put the texts in a safetensors file's header in order: the library's is another each time."""
    length, header = _read_header(file)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    file.seek(8)
    file.write(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length))


def check_tensors(path: Path, metadata: Mapping[str, str], remedy: str) -> None:
    """Check a safetensors file against the digest in its metadata.

    Args:
        path: the file, whose header could be read.
        metadata: what the header says.
        remedy: what to do if the file was changed, for the message.

    Raises:
        DataError: if it was changed.
    """
    said = metadata.get(SEAL)
    if said is None:
        say_unsealed(path)
    elif _sealed(path, said)[0] != said:
        raise changed(path, remedy)


def _sealed(path: Path, said: str) -> tuple[str, int]:
    """The SHA-256 of a safetensors file with zeros for the digest that it says, and the place of that digest."""
    with path.open("rb") as file:
        start = file.read(8)
        start += file.read(min(int.from_bytes(start, "little"), path.stat().st_size))
        place = start.find(json.dumps({SEAL: said}, separators=(",", ":")).encode()[1:-1]) + len(SEAL) + 4
        seen = hashlib.sha256(start[:place] + _OPEN.encode() + start[place + len(said) :])
        while part := file.read(READ_AT_A_TIME):
            seen.update(part)
    return seen.hexdigest(), place


def tensors_digest(path: Path) -> str:
    """The SHA-256 of the tensors in a safetensors file, by their names, types, shapes and values.

    It does not depend on the order of tensors in the file or on its metadata, which differ between versions of the
    libraries that write them. Of a file in another format it is the file's own digest.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            pass
    except SafetensorError:
        return file_digest(path)
    with path.open("rb") as file:
        length, header = _read_header(file)
        header.pop("__metadata__", None)
        seen = hashlib.sha256()
        for name in sorted(header):
            begin, end = header[name]["data_offsets"]
            seen.update(json.dumps([name, header[name]["dtype"], header[name]["shape"]]).encode())
            file.seek(8 + length + begin)
            while begin < end and (part := file.read(min(end - begin, READ_AT_A_TIME))):
                seen.update(part)
                begin += len(part)
    return seen.hexdigest()
