"""The names of encoder architectures, without importing the libraries that build them."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from dpmix.errors import ParamsError
from dpmix.params.specs import EncoderSpec

TIMM_PREFIX = "timm/"
TRAINED_HERE = ("tiny-vit", "tiny-convnext", "small-repvgg")  # recipes of `dpmix.demo.encoder`


def check_architecture(encoder: EncoderSpec) -> None:
    """Check that an encoder's architecture exists, before anything is downloaded or trained for it.

    OpenCLIP's names are read from the files of its package, so that torch need not be imported; timm is imported.

    Raises:
        ParamsError: if it does not; the message lists the nearest names.
    """
    name = encoder.architecture
    if encoder.weights in ("strokes", "public"):
        _refuse_unknown(encoder, "encoder that is trained here", name, TRAINED_HERE)
    elif name.startswith(TIMM_PREFIX):
        import timm

        _refuse_unknown(encoder, "timm model", name.removeprefix(TIMM_PREFIX), timm.list_models())
    else:
        _refuse_unknown(encoder, "OpenCLIP model", name, open_clip_models())


def open_clip_models() -> list[str]:
    """The names of OpenCLIP's architectures."""
    from importlib.util import find_spec

    found = find_spec("open_clip")
    folders = found.submodule_search_locations if found else None
    return sorted(path.stem for folder in folders or () for path in Path(folder, "model_configs").glob("*.json"))


def nearest(name: str, names: Sequence[str]) -> str:
    """Up to five of `names` as text, those most similar to `name` first."""
    return ", ".join(difflib.get_close_matches(name, names, n=5, cutoff=0.3) or list(names)[:5])


def _refuse_unknown(encoder: EncoderSpec, kind: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise ParamsError(
            f"params.yaml: models.{encoder.name}.architecture: no {kind} is called {name!r}; the nearest are "
            f"{nearest(name, names)}; correct it"
        )
