"""The parts of `params.yaml` that say what exists: data sets, models, and sources of D."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from dpmix.errors import suggestion
from dpmix.params.declared import Declared, PositiveInt, Seed, Spec
from dpmix.params.registries import DATA_SETS


def _with_a_place(prompt: str) -> str:
    if "{}" not in prompt:
        raise ValueError(f"the prompt {prompt!r} does not name the class; write {{}} where the name goes")
    return prompt


Prompt = Annotated[str, AfterValidator(_with_a_place)]

Name = Annotated[str, Field(description="Its key")]

Label = Annotated[str, Field(description="What tables call it"), Declared(determines=False)]

Resolution = Annotated[
    PositiveInt, Field(description="Side at which images are stored, cropped and mixed"), Declared(unit="pixels")
]


class DatasetSpec(Spec):
    """A private data set. `train` and `test` are its published sizes: public constants, never counted at run time."""

    name: Name
    label: Label
    source: Annotated[
        Literal["torchvision", "scikit-learn", "folder"],
        Field(description="Which library fetches it, or `folder` for images that are at `path`"),
    ]
    classes: Annotated[PositiveInt, Field(description="How many classes it has"), Declared(unit="classes")]
    train: Annotated[PositiveInt, Field(description="N: published size of its training set"), Declared(unit="images")]
    test: Annotated[PositiveInt, Field(description="Published size of its test set"), Declared(unit="images")]
    channels: Annotated[
        Literal[1, 3], Field(description="1 of grey images, 3 of colour images"), Declared(unit="channels")
    ] = 3
    path: Annotated[
        str | None,
        Field(
            description="Of a folder data set: a folder of class folders, a zip archive of one, or a folder with "
            "archives `train*.zip` and `test*.zip`"
        ),
    ] = None
    parent: Annotated[
        str | None,
        Field(description="Name of the data set that this one is a part of, whose synthetic images it shares"),
        Declared(determines=False, unless="D is used"),
    ] = None

    @model_validator(mode="after")
    def _source_fits(self) -> "DatasetSpec":
        if self.source == "folder" and self.path is None:
            raise ValueError("a folder data set needs `path`")
        if self.source == "torchvision" and self.name not in DATA_SETS:
            raise ValueError(f"no published data set is called {self.name!r}; {suggestion(self.name, DATA_SETS)}")
        return self


class WideResNetSpec(Spec):
    """A wide residual network with group norm, trained from scratch (Zagoruyko and Komodakis; De et al.)."""

    kind: Annotated[Literal["wide-resnet"], Field(description="A network that is trained from scratch")]
    name: Name
    label: Label
    depth: Annotated[PositiveInt, Field(description="6 b + 4, of b blocks in each of 3 groups"), Declared("layers")]
    width: Annotated[PositiveInt, Field(description="How many times as many channels as a plain residual network")]
    groups: Annotated[
        PositiveInt, Field(description="Groups of each group norm; divides `base_channels`"), Declared("groups")
    ] = 16
    base_channels: Annotated[
        PositiveInt, Field(description="Channels of the first convolution"), Declared("channels")
    ] = 16
    stem_stride: Annotated[Literal[1, 2], Field(description="Stride of the first convolution"), Declared("pixels")] = 1
    resolution: Resolution = 32

    @model_validator(mode="after")
    def _can_be_built(self) -> "WideResNetSpec":
        if self.depth < 10 or (self.depth - 4) % 6:
            raise ValueError(f"the depth of a wide residual network is 6 b + 4 (10, 16, 22, ...), not {self.depth}")
        if self.base_channels % self.groups:
            raise ValueError(f"groups: {self.groups} do not divide base_channels: {self.base_channels}")
        return self


class EncoderSpec(Spec):
    """A frozen image encoder under a linear head: any of OpenCLIP's, or `timm/<model>` for any backbone of timm's.

    `weights` names a pretrained tag of either library, or `strokes` for the demo's encoders, which are trained on drawn
    digits, or `public` for one that is trained here on the public images at `images`, class folders on disk or in a zip
    archive. Images are stored, cropped and mixed at `resolution`; an encoder that sees another side resizes the views.
    `standardize: public` centres and scales features by the statistics of D, which is public.
    """

    kind: Annotated[Literal["encoder"], Field(description="A frozen encoder under a linear head, which is trained")]
    name: Name
    label: Label
    architecture: Annotated[
        str, Field(description="Architecture by OpenCLIP's name, `timm/<model>`, or one of the demo's")
    ]
    weights: Annotated[
        str, Field(description="Pretrained tag of the library; `strokes`: the demo's; `public`: trained on `images`")
    ]
    resolution: Resolution
    standardize: Annotated[
        Literal["none", "public"],
        Field(description="Whether features are centred and scaled by the statistics of D"),
    ] = "none"
    images: Annotated[
        str | None,
        Field(description="With `weights: public`: folder or zip archive of class folders of public images"),
        Declared(added=True),
    ] = None

    @model_validator(mode="after")
    def _images_fit(self) -> "EncoderSpec":
        if (self.weights == "public") != (self.images is not None):
            raise ValueError(
                "weights: public goes with images: <folder or zip archive of public images>, and only with it"
            )
        return self

    @property
    def has_text(self) -> bool:
        """Whether a text tower comes with it, for zero-shot classification; timm's backbones have none."""
        return not self.architecture.startswith("timm/")


ModelSpec = Annotated[WideResNetSpec | EncoderSpec, Field(discriminator="kind")]


class DiffusionSpec(Spec):
    """A text-to-image model and how it is sampled. `model: strokes` is the demo's, trained on drawn digits.

    `saved_resolution` should be no less than any encoder's resolution.
    """

    name: Name
    model: Annotated[
        str, Field(description="Repository of the Hugging Face hub, folder in diffusers' format, or `strokes`")
    ]
    revision: Annotated[str | None, Field(description="Commit, tag or branch of the repository")] = None
    prompt: Annotated[str, Field(description="What an image is asked for; `{}` is where the class name goes")] = (
        "a photo of a {}"
    )
    guidance_scale: Annotated[float, Field(description="Classifier-free guidance; 1: none")]
    steps: Annotated[PositiveInt, Field(description="Denoising steps of an image"), Declared("steps")]
    resolution: Annotated[
        PositiveInt, Field(description="Side of the images as they are drawn, a multiple of 8"), Declared("pixels")
    ]
    scheduler: Annotated[str, Field(description="Class of diffusers that schedules the steps")]
    saved_resolution: Annotated[
        PositiveInt | None,
        Field(description="Side to which images are reduced on disk; by default `resolution`"),
        Declared("pixels"),
    ] = None
    batch_size: Annotated[
        PositiveInt,
        Field(description="How many images are drawn together"),
        Declared(unit="images", determines=False),
    ] = 16
    seed: Annotated[Seed, Field(description="Of the images' initial noise")] = 0

    def sampling(self) -> dict[str, Any]:
        """What `dpmix.synthesis.draw.synthesize` takes of it, beside the model."""
        return self.model_dump(exclude={"name", "model"})


class GivenImagesSpec(Spec):
    """Public images on disk that serve as D, in place of a text-to-image model: a folder or zip of class folders."""

    name: Name
    images: Annotated[str, Field(description="Folder or zip archive of class folders")]


def _source_of_d(value: Any) -> str:
    given = "images" in value if isinstance(value, dict) else isinstance(value, GivenImagesSpec)
    return "given" if given else "drawn"


SyntheticSource = Annotated[
    Annotated[DiffusionSpec, Tag("drawn")] | Annotated[GivenImagesSpec, Tag("given")], Discriminator(_source_of_d)
]
