"""Makers of public models, downloaded or trained on public images: frozen encoders and text-to-image pipelines."""

from collections.abc import Sequence

from dpmix.artefacts.data import DiffusionModel, EncoderModel, InceptionWeights
from dpmix.makers.registry import Context, maker
from dpmix.seals import DIGESTS, seal_folder

# The demo's text-to-image model is trained on drawn digits rather than fetched.
_DRAWN = "strokes"
_DEMO_SEED = 0


@maker(EncoderModel)
def make_encoders(models: Sequence[EncoderModel], context: Context) -> None:
    """Download each pretrained encoder, or train it on public images (the demo's on drawn digits)."""
    for model in models:
        folder = model.path(context.scale).parent
        model.encoder.library.fetch(model.encoder, folder)
        if not (folder / DIGESTS).is_file():  # of a library that somebody added
            seal_folder(folder)


@maker(InceptionWeights)
def make_inception(wanted: Sequence[InceptionWeights], context: Context) -> None:
    """Download InceptionV3's weights.

    Raises:
        DataError: if they cannot be, or what arrives is not what they should be.
    """
    from dpmix.evaluation.frechet import fetch_inception

    for one in wanted:
        fetch_inception(one.inception.url, one.inception.sha256, one.path(context.scale))


@maker(DiffusionModel)
def make_diffusion_models(models: Sequence[DiffusionModel], context: Context) -> None:
    """Download each text-to-image pipeline, or train it, if it is the demo's, on drawn digits."""
    for model in models:
        out = model.path(context.scale).parent
        if model.model == _DRAWN:
            from dpmix.demo.diffusion import train_diffusion
            from dpmix.demo.strokes import training_set

            train_diffusion(*training_set(), out, _DEMO_SEED)
        else:
            from dpmix.synthesis.pipeline import fetch_model

            fetch_model(model.model, out, revision=model.revision)
