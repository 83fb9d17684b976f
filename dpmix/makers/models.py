"""Makers of public models, downloaded or trained on public images: frozen encoders and text-to-image pipelines."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dpmix.artefacts.data import DiffusionModel, EncoderModel
from dpmix.makers.registry import Context, maker

if TYPE_CHECKING:
    import numpy as np

# The demo's models are trained on drawn digits rather than fetched.
_DRAWN = "strokes"
_DEMO_SEED = 0
_DEMO_IMAGES = 12000


def _strokes() -> "tuple[np.ndarray, np.ndarray, list[str]]":
    """The demo's public data, drawn digits: images uint8 [n, 1, 16, 16], labels int64 [n], and class names 0 to 9."""
    from dpmix.demo.strokes import draw

    images, labels = draw(_DEMO_IMAGES, _DEMO_SEED)
    return images, labels, [str(digit) for digit in range(10)]


@maker(EncoderModel)
def make_encoders(models: Sequence[EncoderModel], context: Context) -> None:
    """Download each pretrained encoder, or train it on public images (the demo's on drawn digits)."""
    for model in models:
        spec, out = model.encoder, model.path(context.scale).parent
        if spec.weights == _DRAWN:
            from dpmix.demo.encoder import train_encoder

            train_encoder(spec.architecture, *_strokes(), out, _DEMO_SEED)
        elif spec.images:
            from dpmix.data.folders import read_public
            from dpmix.demo.encoder import train_encoder

            public = read_public(Path(spec.images), spec.resolution)
            train_encoder(spec.architecture, public.images, public.labels, public.classes, out, _DEMO_SEED)
        else:
            from dpmix.models.encoder_download import fetch_encoder

            fetch_encoder(spec.architecture, spec.weights, out)


@maker(DiffusionModel)
def make_diffusion_models(models: Sequence[DiffusionModel], context: Context) -> None:
    """Download each text-to-image pipeline, or train it, if it is the demo's, on drawn digits."""
    for model in models:
        out = model.path(context.scale).parent
        if model.model == _DRAWN:
            from dpmix.demo.diffusion import train_diffusion

            train_diffusion(*_strokes(), out, _DEMO_SEED)
        else:
            from dpmix.synthesis.pipeline import fetch_model

            fetch_model(model.model, out, revision=model.revision)
