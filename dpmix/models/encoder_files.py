"""Reads frozen encoders from their folders, by the library whose files lie there."""

import functools
from pathlib import Path
from typing import Any

import torch

from dpmix.errors import DataError, ParamsError, one_line
from dpmix.execution import Execution, Precision, keep_freed_memory
from dpmix.files import read_object
from dpmix.models.encoder import Encoder, embedding_length
from dpmix.models.libraries.base import EncoderLibrary, noted_side
from dpmix.params.registries import encoder_libraries
from dpmix.seals import check_folder, tensors_digest


def _dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    """The dtype in which an encoder computes on this device; None is float32."""
    if precision != "auto":
        return None if precision == "float32" else getattr(torch, precision)
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def shared_encoder(directory: Path, execution: Execution) -> Encoder:
    """The encoder in a folder. A process loads it once for each device, precision and use of `torch.compile`.

    Args:
        directory: as for `load_encoder`.
        execution: device, precision, and whether to compile. The precision `auto` is float32 on the CPU, and on a GPU
            bfloat16, or float16 if it has no bfloat16. Embeddings are float32 in any case.

    Raises:
        DataError: as `load_encoder`.
        ParamsError: as `load_encoder`.
    """
    how = (execution.where(), execution.encoder_precision, execution.compile_encoder)
    return _loaded(directory.resolve(), *how)


@functools.cache
def _loaded(directory: Path, device: str, precision: Precision, compiled: bool) -> Encoder:
    dtype = _dtype(precision, torch.device(device)) or torch.float32
    return load_encoder(directory, device=device, dtype=dtype, compiled=compiled)


def load_encoder(
    directory: Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    batch_size: int | None = None,
    compiled: bool = False,
    side: int | None = None,
) -> Encoder:
    """Read an encoder from a folder; the network is not used.

    Args:
        directory: the folder, in the format of one of the libraries in `dpmix.params.registries.ENCODER_LIBRARIES`.
        device: where to compute.
        dtype: bfloat16, float16 or float32; by default float32 on the CPU and half precision on a GPU. Embeddings are
            float32 in any case.
        batch_size: images in a forward pass; by default 512, and on a processor fewer of large ones.
        compiled: whether to use `torch.compile`, which takes a minute; on a GPU only.
        side: of the images that it sees, in pixels; by default that for which it was fetched. Position embeddings are
            interpolated.

    Raises:
        ParamsError: if it cannot see images of this side.
        DataError: if files are missing, damaged or do not fit together (missing weights are never left random), or an
            image's embedding depends on other images of its batch.
    """
    directory, device = Path(directory), torch.device(device)
    dtype = _dtype("auto", device) if dtype is None else dtype
    library = next((one for one in encoder_libraries() if (directory / one.config_file).is_file()), None)
    if library is None:
        files = " or ".join(dict.fromkeys(one.config_file for one in encoder_libraries()))
        raise DataError(f"{directory} holds no encoder ({files} is missing); fetch or train it first")
    if not (directory / library.weights_file).is_file():
        raise DataError(f"{directory / library.weights_file} does not exist; fetch or train the encoder again")
    read_object(directory / library.config_file, "fetch or train the encoder again")
    check_folder(directory)
    side = noted_side(directory) if side is None else side
    arguments = _whole(library, directory, None) if side is None else _at_side(library, directory, side)
    if device.type == "cpu":
        keep_freed_memory()
    how: dict[str, Any] = {"device": device, "dtype": dtype, "batch_size": batch_size, "compiled": compiled}
    return Encoder(**arguments, **how, name=str(directory))


def weights_digest(directory: Path) -> str:
    """The digest of an encoder's weights, which is the same wherever a copy of them lies (`seals.tensors_digest`).

    Raises:
        DataError: if the folder holds no encoder, or its weights cannot be read.
    """
    from dpmix.models.libraries.folder import format_of

    path = directory / format_of(directory).weights_file
    try:
        return tensors_digest(path)
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({one_line(error, 100)}); fetch or train the encoder again") from error


def _whole(library: EncoderLibrary, directory: Path, side: int | None) -> dict[str, Any]:
    try:
        return library.load(directory, side)
    except Exception as error:  # each library has its own errors for a folder that does not fit together
        reason = one_line(error, 200)
        raise DataError(f"{directory} is not a whole encoder ({reason}); fetch or train it again") from error


def _at_side(library: EncoderLibrary, directory: Path, side: int) -> dict[str, Any]:
    try:
        arguments = library.load(directory, side)
        embedding_length(arguments["visual"].eval(), side, torch.device("cpu"), str(directory))
    except Exception as error:
        _whole(library, directory, None)  # a folder that is damaged says so
        reason = one_line(error, 120)
        raise ParamsError(
            f"{directory} cannot see images of {side} pixels ({reason}); give another side, or leave it out"
        ) from error
    return arguments
