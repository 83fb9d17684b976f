"""The parts of `params.yaml` that say what exists: data sets, models, sources of D, and the settings of a run."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

DATA_SETS_OF_TORCHVISION = ("cifar-10", "cifar-100", "eurosat", "caltech256", "sun397", "oxford-pet")

PositiveInt = Annotated[int, Field(gt=0)]

PositiveFloat = Annotated[float, Field(gt=0)]

Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _distinct(values: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(values)) < len(values):
        raise ValueError("a seed is listed twice, which would count one run twice")
    return values


def _with_a_place(prompt: str) -> str:
    if "{}" not in prompt:
        raise ValueError(f"the prompt {prompt!r} does not name the class; write {{}} where the name goes")
    return prompt


Prompt = Annotated[str, AfterValidator(_with_a_place)]

Seeds = Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(_distinct)]


class Spec(BaseModel):
    """A frozen pydantic model that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetSpec(Spec):
    """A private data set. `train` and `test` are its published sizes: public constants, never counted at run time.

    `path`, of a folder data set, is a folder of class folders, a zip archive of one, or a folder with archives
    `train*.zip` and `test*.zip`.
    """

    name: str
    label: str
    source: Literal["torchvision", "scikit-learn", "folder"]
    classes: PositiveInt
    train: PositiveInt
    test: PositiveInt
    channels: Literal[1, 3] = 3
    path: str | None = None
    parent: str | None = None  # the data set that this one is a part of, whose synthetic images it shares

    @model_validator(mode="after")
    def _source_fits(self) -> "DatasetSpec":
        if self.source == "folder" and self.path is None:
            raise ValueError("a folder data set needs `path`")
        if self.source == "torchvision" and self.name not in DATA_SETS_OF_TORCHVISION:
            raise ValueError(f"torchvision data sets are {', '.join(DATA_SETS_OF_TORCHVISION)}")
        return self


class WideResNetSpec(Spec):
    """A wide residual network with group norm, trained from scratch (Zagoruyko and Komodakis; De et al.)."""

    kind: Literal["wide-resnet"]
    name: str
    label: str
    depth: PositiveInt
    width: PositiveInt
    groups: PositiveInt = 16
    base_channels: PositiveInt = 16
    stem_stride: Literal[1, 2] = 1
    resolution: PositiveInt = 32

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

    kind: Literal["encoder"]
    name: str
    label: str
    architecture: str
    weights: str
    resolution: PositiveInt
    standardize: Literal["none", "public"] = "none"
    # Absent from what is hashed unless it is given, so that other encoders' results keep their paths.
    images: str | None = Field(default=None, exclude_if=lambda value: value is None)

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

    `saved_resolution` is what images are reduced to on disk; it should be no less than any encoder's.
    """

    name: str
    model: str
    revision: str | None = None
    prompt: str = "a photo of a {}"
    guidance_scale: float
    steps: PositiveInt
    resolution: PositiveInt
    scheduler: str
    saved_resolution: PositiveInt | None = None
    batch_size: PositiveInt = 16
    seed: Seed = 0

    def sampling(self) -> dict[str, Any]:
        """What `dpmix.synthesis.draw.synthesize` takes of it, beside the model."""
        return self.model_dump(exclude={"name", "model"})


class GivenImagesSpec(Spec):
    """Public images on disk that serve as D, in place of a text-to-image model: a folder or zip of class folders."""

    name: str
    images: str


def _source_of_d(value: Any) -> str:
    given = "images" in value if isinstance(value, dict) else isinstance(value, GivenImagesSpec)
    return "given" if given else "drawn"


SyntheticSource = Annotated[
    Annotated[DiffusionSpec, Tag("drawn")] | Annotated[GivenImagesSpec, Tag("given")], Discriminator(_source_of_d)
]


class Settings(BaseModel):
    """Settings of a run, as a method, a data set at a scale, or a table's row, column or cell may give them.

    None is not set here: the value then comes from elsewhere, see `dpmix.catalogue.catalogue`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str | None = None
    model: str | None = None
    method: str | None = None
    epsilon: PositiveFloat | None = None
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    accountant: Literal["rdp", "prv", "pld"] | None = None
    clip_norm: PositiveFloat | None = None
    clipping: Literal["flat", "auto-s", "per-layer"] | None = None
    precision: Literal["float32", "bfloat16", "float16"] | None = None
    bands: PositiveInt | None = None
    batch_size: PositiveInt | None = None
    epochs: PositiveInt | None = None
    learning_rate: PositiveFloat | Literal["tuned"] | dict[PositiveFloat, PositiveFloat] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    ema_decay: Annotated[float, Field(ge=0, lt=1)] | None = None
    k_base: Annotated[int, Field(ge=0)] | None = None
    k_self: Annotated[int, Field(ge=0)] | None = None
    k_diff: Annotated[int, Field(ge=0)] | None = None
    mixup_alpha: Annotated[float, Field(gt=0, le=1)] | None = None
    mixup_pairs: Literal["distinct", "independent"] | None = None
    mixing: Literal["mixup", "cutmix"] | None = None
    transforms: tuple[str, ...] | None = None
    padding: Annotated[int, Field(ge=0)] | None = None
    augment_synthetic: bool | None = None
    microbatch_size: PositiveInt | None = None
    microbatch_mixup: Literal["none", "added", "alone"] | None = None
    pretrain_epochs: Annotated[int, Field(ge=0)] | None = None
    subset: Literal["all", "S1"] | None = None
    mix_with: Literal["synthetic", "S2"] | None = None
    release: bool | None = None

    def over(self, base: "Settings") -> "Settings":
        """These settings, with the values of `base` for those that are None here."""
        return base.model_copy(update=self.model_dump(exclude_none=True))


class MethodSpec(Settings):
    """A method: the settings that define it, under the paper's name."""

    label: str
