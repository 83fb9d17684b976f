"""The encoder under a classifier of one's own images: EfficientNet-Lite0, or the one that `encoder` names."""

import re
from pathlib import Path

from dpmix.errors import DataError, ParamsError, nearest
from dpmix.execution import Execution
from dpmix.models import efficientnet_lite0
from dpmix.models.libraries.base import NotFetched
from dpmix.own.choices.recipe import ENCODER, SIDE
from dpmix.params.models import EncoderSpec
from dpmix.params.registries import ENCODER_LIBRARIES, encoder_libraries, encoder_library, registered

_TIMM = registered(ENCODER_LIBRARIES, "timm")

_LITE0 = (_TIMM.prefix + efficientnet_lite0.ARCHITECTURE, efficientnet_lite0.WEIGHTS)

_FORMS = "ViT-B-16/openai, timm/resnet18, timm/resnet18/a1_in1k or the folder of an encoder"


def encoder(name: str | None = None, side: int | None = None) -> EncoderSpec:
    """The encoder that a name stands for, checked to exist; nothing is downloaded yet.

    Its features are centred and scaled by public photographs (`standardize: encoder`): a typical one has norm 1.

    Args:
        name: None or `efficientnet-lite0` is EfficientNet-Lite0, which is installed with dpmix. OpenCLIP's are named
            `<architecture>/<weights>`, such as `ViT-B-16/laion2b_s34b_b88k`; timm's `timm/<architecture>`, for timm's
            first choice of weights, or with them as `timm/<architecture>/<weights>` or
            `timm/<architecture>.<weights>`; `timm/` may be left out. Or a folder with an encoder in OpenCLIP's or
            timm's format, whose weights must owe nothing to the private images.
        side: R, in pixels, at which images are stored, cropped and mixed, and which the encoder sees. None is its own,
            such as 224; for EfficientNet-Lite0, which takes any side, it is 96, the one that a laptop can pay for.

    Raises:
        ParamsError: for a name that there is not, with the nearest; for an encoder that cannot see images of that side.
        DataError: for a folder that holds no encoder, or a damaged one.

    >>> encoder().architecture, encoder().resolution
    ('timm/tf_efficientnet_lite0', 96)
    """
    if name is None or name == ENCODER:
        return _spec(ENCODER, "EfficientNet-Lite0", *_LITE0, side or SIDE, side or SIDE)
    if Path(name).is_dir():
        return _in_folder(Path(name).resolve(), side)
    if name.startswith((".", "/", "~", "\\")):  # as no encoder's name does
        raise ParamsError(f"`encoder`: there is no folder {name}; give one that is there, or timm/resnet18")
    architecture, weights = _parts(name)
    label = f"{architecture.removeprefix(_TIMM.prefix)} ({weights})"
    wanted = _spec(re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"), label, architecture, weights, side or 1, side)
    wanted.library.check(wanted, "`encoder`")
    if side is not None:
        return wanted
    import torch

    _, _, own = wanted.library.skeleton(architecture, torch.device("meta"))
    return wanted.model_copy(update={"resolution": own})


def encoder_folder(model: EncoderSpec, scale: str, execution: Execution) -> Path:
    """The folder of an encoder, below the working directory; made if it is not there.

    Raises:
        DataError: for weights that cannot be downloaded, with the way that needs no network here.
    """
    from dpmix.artefacts.data import EncoderModel
    from dpmix.build import build

    artefact = EncoderModel(encoder=model)
    try:
        build(artefact, scale=scale, execution=execution, quiet=True)
    except NotFetched as error:
        files = f"{model.library.config_file} {model.library.weights_file}"
        by_hand = (
            f"on a machine with network run: hf download {error.repository} {files} --local-dir eye, copy the folder "
            "eye to here, and name it: `encoder='eye'`"
        )
        without = "leave out `encoder`, for the one that comes with dpmix"
        ways = filter(None, (error.remedy, by_hand if error.repository else "", without))
        raise DataError(f"{error.what}; {'; or '.join(ways)}") from error
    return artefact.path(scale).parent


def _in_folder(folder: Path, side: int | None) -> EncoderSpec:
    from dpmix.models.encoder_files import load_encoder
    from dpmix.models.libraries.folder import architecture_in, weights_in

    weights = weights_in(folder)
    seen = load_encoder(folder, side=side).resolution
    name = re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-") or "encoder"
    made = _spec(name, folder.name, architecture_in(folder), weights, seen, side)
    return made.model_copy(update={"folder": str(folder)})


def _spec(name: str, label: str, architecture: str, weights: str, resolution: int, side: int | None) -> EncoderSpec:
    return EncoderSpec(
        kind="encoder",
        name=name,
        label=label,
        architecture=architecture,
        weights=weights,
        resolution=resolution,
        side=side,
        standardize="encoder",
    )


def _parts(name: str) -> tuple[str, str]:
    """Architecture and weights as params.yaml has them.

    Raises:
        ParamsError: if there is no such architecture, or weights are to be chosen from several.
    """
    plain = name.removeprefix(_TIMM.prefix)
    first, _, weights = plain.partition("/")
    if not name.startswith(_TIMM.prefix) and first in encoder_library(first).architectures():
        tags = encoder_library(first).weights(first)
        if not weights:
            near = ", ".join(f"{first}/{tag}" for tag in list(tags)[:5])
            raise ParamsError(f"`encoder`: {name} does not say which weights: {near or 'it has none'}; name one")
        return first, weights
    first, _, weights = re.sub(r"[./]", "\0", plain, count=1).partition("\0")
    if first not in _TIMM.architectures():
        libraries = encoder_libraries() if not name.startswith(_TIMM.prefix) else [_TIMM]
        names = [ENCODER, *(library.prefix + one for library in libraries for one in library.architectures())]
        near = ", ".join(nearest(name, names, most=5, likeness=0.3) or names[:5])
        raise ParamsError(f"`encoder`: no encoder is called {name!r}; the nearest are {near}; write it as {_FORMS}")
    tags = _TIMM.weights(first)
    if not weights and not tags:
        raise ParamsError(f"`encoder`: timm has no weights for {first}; name another")
    return _TIMM.prefix + first, weights or tags[0]
