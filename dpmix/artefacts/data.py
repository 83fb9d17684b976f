"""What training reads: image stores, the synthetic set D, encoders, and the text-to-image models that draw D."""

from pathlib import Path
from typing import Annotated, Any, ClassVar

from typing_extensions import override

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.entries import of_encoder, of_images
from dpmix.params.declared import Declared
from dpmix.params.models import EncoderSpec
from dpmix.params.specs import DatasetSpec, DiffusionSpec, GivenImagesSpec, InceptionSpec, SyntheticSource


class ImageStore(Artefact):
    """A private data set as pixels: all images decoded once, `resolution` pixels a side (see `dpmix.data.images`)."""

    folder: ClassVar[str] = "data/images"
    dataset: DatasetSpec
    resolution: int

    @override
    def rooms(self) -> tuple[str, ...]:
        return ("makers.data", "data", "random")

    @override
    def entries(self) -> tuple[str, ...]:
        return of_images(self.dataset)

    @override
    def path(self, scale: str) -> Path:
        return Path(self.folder, f"{self.dataset.name}-{self.resolution}px-{self.hash}", "meta.json")


class DiffusionModel(Artefact):
    """A text-to-image model in diffusers' format on disk: downloaded, or trained if it is the demo's.

    Attributes:
        name: what the params call it.
        model: a repository of the Hugging Face hub, or `strokes` for the demo's.
        revision: commit of the repository; None is its main branch.
    """

    folder: ClassVar[str] = "data/diffusion"
    name: str
    model: str
    revision: str | None = None

    @override
    def rooms(self) -> tuple[str, ...]:
        return ("makers.models", "demo", "random") if self.model == "strokes" else ("makers.models",)

    @override
    def path(self, scale: str) -> Path:
        return Path(self.folder, f"{self.name}-{self.hash}", "model_index.json")


class SyntheticSet(Artefact):
    """D: images of a data set's classes, drawn by a text-to-image model or given as public images.

    Attributes:
        dataset: the private data set, of which only the names of its classes are used.
        size: |D|, images in all.
        diffusion: the text-to-image model, or the folder of public images.
        names_from: the resolution of the private image store in which the class names are looked up.
    """

    folder: ClassVar[str] = "data/synthetic"
    dataset: DatasetSpec
    size: int
    diffusion: SyntheticSource
    # The class names are the same in every store of a data set.
    names_from: Annotated[int, Declared(determines=False)]

    def names(self) -> ImageStore:
        """The private store in which the names of its classes are looked up."""
        return ImageStore(dataset=self.dataset, resolution=self.names_from)

    @override
    def rooms(self) -> tuple[str, ...]:
        return ("makers.data", "synthesis", "random")

    @override
    def key(self) -> dict[str, Any]:
        key = super().key()
        if isinstance(self.diffusion, DiffusionSpec):
            key["diffusion"]["saved_resolution"] = self.diffusion.saved_resolution or self.diffusion.resolution
        return key

    def model_on_disk(self) -> DiffusionModel | None:
        """The pipeline that draws it; None for images that are given."""
        if isinstance(self.diffusion, GivenImagesSpec):
            return None
        return DiffusionModel(name=self.diffusion.name, model=self.diffusion.model, revision=self.diffusion.revision)

    @override
    def path(self, scale: str) -> Path:
        return Path(self.folder, f"{self.dataset.name}-{self.diffusion.name}-{self.hash}", "manifest.json")

    @override
    def inputs(self) -> list[Artefact]:
        model = self.model_on_disk()
        return [model, self.names()] if model else [self.names()]


class SyntheticStore(Artefact):
    """D as pixels: all images decoded once, `resolution` pixels a side (see `dpmix.data.images`)."""

    folder: ClassVar[str] = "data/images"
    synthetic: SyntheticSet
    resolution: int

    @override
    def rooms(self) -> tuple[str, ...]:
        return ("makers.data", "synthesis", "data", "random")

    @override
    def path(self, scale: str) -> Path:
        return Path(self.folder, f"{self.synthetic.dataset.name}-synthetic-{self.resolution}px-{self.hash}/meta.json")

    @override
    def inputs(self) -> list[Artefact]:
        return [self.synthetic, self.synthetic.names()]


def encoder_key(encoder: EncoderSpec) -> dict[str, Any]:
    """The values that determine an encoder's weights and what it sees, for hashes."""
    # An encoder that is trained here depends on its training images and the resolution at which they are decoded.
    # Downloaded weights are the same whatever the resolution of the images that are later given to them.
    given: dict[str, Any] = {"images": encoder.images, "resolution": encoder.resolution} if encoder.images else {}
    if encoder.side is not None:
        given["side"] = encoder.side
    return {"architecture": encoder.architecture, "weights": encoder.weights, **given}


class InceptionWeights(Artefact):
    """InceptionV3's weights on disk, in the form in which torch-fidelity reads them."""

    folder: ClassVar[str] = "data/inception"
    inception: InceptionSpec

    @override
    def path(self, scale: str) -> Path:
        return Path(self.folder, f"inception-{self.hash}", "weights.pth")


class EncoderModel(Artefact):
    """A frozen image encoder on disk, downloaded or trained on public images.

    Runs that use the same weights on images stored at different resolutions, or under different labels, share one file;
    an encoder that sees another side is another, which says so.
    """

    folder: ClassVar[str] = "data/encoders"
    encoder: EncoderSpec

    @override
    def rooms(self) -> tuple[str, ...]:
        trained = {"strokes": ("demo", "random"), "public": ("demo", "random", "data")}
        return ("makers.models", "models", *trained.get(self.encoder.weights, ()))

    @override
    def entries(self) -> tuple[str, ...]:
        return of_encoder(self.encoder)

    @override
    def key(self) -> dict[str, Any]:
        return encoder_key(self.encoder)

    @override
    def path(self, scale: str) -> Path:
        return Path(self.folder, f"{self.encoder.name}-{self.hash}", self.encoder.library.config_file)
