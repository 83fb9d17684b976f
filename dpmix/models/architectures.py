"""The names of encoder architectures, without importing the libraries that build them."""

from collections.abc import Sequence
from pathlib import Path

from dpmix.errors import ParamsError, nearest
from dpmix.params.models import EncoderSpec

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


def check_known(kind: str, name: str, names: Sequence[str], where: str = "") -> None:
    """Check that `name` is one of `names`, of which there may be a thousand.

    Raises:
        ParamsError: if it is not; the message calls it a `kind`, lists the five nearest names, and says `where` in
            params.yaml it stands, if that is known.
    """
    if name not in names:
        close = nearest(name, names, most=5, likeness=0.3) or list(names)[:5]
        place, remedy = (f"params.yaml: {where}: ", "correct it") if where else ("", "correct params.yaml")
        raise ParamsError(f"{place}no {kind} is called {name!r}; the nearest are {', '.join(close)}; {remedy}")


def _refuse_unknown(encoder: EncoderSpec, kind: str, name: str, names: Sequence[str]) -> None:
    check_known(kind, name, names, f"models.{encoder.name}.architecture")
