"""Models of `params.yaml`: networks that are trained from scratch, and frozen encoders under a linear head.

A network is a class here, which says what the params may set of it and where its module is, and a line of `ModelSpec`.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from dpmix.params.declared import Declared, PositiveInt, Spec
from dpmix.params.registries import encoder_library
from dpmix.params.specs import EntryName, Label, Resolution

if TYPE_CHECKING:
    from dpmix.models.libraries.base import EncoderLibrary


class NetworkSpec(Spec):
    """What every network trained from scratch says in the params; a subclass adds what its module can be built with.

    Attributes:
        frozen: whether the weights stay as they are, and a head alone is trained.
        trainer: who trains it: a key of `dpmix.training.runner.TRAINERS`.
        module: where its module is, as `module:class`: a `torch.nn.Module` that `dpmix.models.networks.build_network`
            calls with this spec, the images' channels and the number of classes.
        jax_logits: where the same network is for `engine: jax`, as `module:function`: called with this spec, the
            parameters by the module's names, and images, it gives logits; None if there is none.
        resolution: R, the side in pixels of the images that it is given.
    """

    frozen: ClassVar[bool] = False
    trainer: ClassVar[str] = "network"
    module: ClassVar[str]
    jax_logits: ClassVar[str | None] = None

    kind: str
    name: EntryName
    label: Label
    resolution: Resolution = 32


class WideResNetSpec(NetworkSpec):
    """A wide residual network with group norm, trained from scratch (Zagoruyko and Komodakis; De et al.)."""

    module: ClassVar[str] = "dpmix.models.wide_resnet:WideResNet"
    jax_logits: ClassVar[str | None] = "dpmix.models.jax_wide_resnet:logits"

    kind: Annotated[Literal["wide-resnet"], Field(description="A network that is trained from scratch")]
    depth: Annotated[PositiveInt, Field(description="6 b + 4, of b blocks in each of 3 groups"), Declared("layers")]
    width: Annotated[PositiveInt, Field(description="How many times as many channels as a plain residual network")]
    groups: Annotated[
        PositiveInt, Field(description="Groups of each group norm; divides `base_channels`"), Declared("groups")
    ] = 16
    base_channels: Annotated[
        PositiveInt, Field(description="Channels of the first convolution"), Declared("channels")
    ] = 16
    stem_stride: Annotated[Literal[1, 2], Field(description="Stride of the first convolution"), Declared("pixels")] = 1

    @model_validator(mode="after")
    def _can_be_built(self) -> "WideResNetSpec":
        if self.depth < 10 or (self.depth - 4) % 6:
            raise ValueError(
                f"depth {self.depth} of a wide residual network is not 6 b + 4; choose 10, 16, 22, 28 or 40"
            )
        if self.base_channels % self.groups:
            raise ValueError(
                f"groups: {self.groups} do not divide base_channels: {self.base_channels}; change one of them"
            )
        return self


class ResNetSpec(NetworkSpec):
    """A residual network for small images with group norm, trained from scratch (He et al., section 4.2)."""

    module: ClassVar[str] = "dpmix.models.resnet:ResNet"

    kind: Annotated[Literal["resnet"], Field(description="A plain residual network that is trained from scratch")]
    depth: Annotated[PositiveInt, Field(description="6 b + 2, of b blocks in each of 3 stages"), Declared("layers")]
    groups: Annotated[
        PositiveInt, Field(description="Groups of each group norm; no more than it has channels"), Declared("groups")
    ] = 32
    base_channels: Annotated[
        PositiveInt,
        Field(description="Channels of the first of 3 stages; each next one has twice as many"),
        Declared("channels"),
    ] = 16
    stem_stride: Annotated[Literal[1, 2], Field(description="Stride of the first convolution"), Declared("pixels")] = 1

    @model_validator(mode="after")
    def _can_be_built(self) -> "ResNetSpec":
        if self.depth < 8 or (self.depth - 2) % 6:
            raise ValueError(f"depth {self.depth} of a residual network is not 6 b + 2; choose 8, 14, 20, 32 or 44")
        for channels in (self.base_channels, 2 * self.base_channels, 4 * self.base_channels):
            if channels % min(self.groups, channels):
                raise ValueError(f"groups: {self.groups} do not divide {channels} channels; give a power of two")
        return self


class EncoderSpec(Spec):
    """A frozen image encoder under a linear head: any of OpenCLIP's, or `timm/<model>` for any backbone of timm's.

    `folder/<architecture>` is one that lies at `folder`, and its `weights` is the start of its file's SHA-256. Else
    `weights` names a pretrained tag of either library, or `strokes` for the demo's encoders, which are trained on drawn
    digits, or `public` for one that is trained here on the public images at `images`, class folders on disk or in a zip
    archive. Images are stored, cropped and mixed at `resolution`; an encoder that sees another side resizes the views.
    `side` lets it see images of another side than its own, which costs less or shows more. `standardize` centres and
    scales features by public statistics: `public` by those of D, `encoder` by those of two public photographs.
    """

    frozen: ClassVar[bool] = True
    trainer: ClassVar[str] = "heads"

    kind: Annotated[Literal["encoder"], Field(description="A frozen encoder under a linear head, which is trained")]
    name: EntryName
    label: Label
    architecture: Annotated[
        str, Field(description="Architecture by OpenCLIP's name, `timm/<model>`, or one of the demo's")
    ]
    weights: Annotated[
        str, Field(description="Pretrained tag of the library; `strokes`: the demo's; `public`: trained on `images`")
    ]
    resolution: Resolution
    standardize: Annotated[
        Literal["none", "public", "encoder"],
        Field(description="By what features are centred and scaled: `public`: D; `encoder`: two public photographs"),
    ] = "none"
    images: Annotated[
        str | None,
        Field(description="With `weights: public`: folder or zip archive of class folders of public images"),
        Declared(added=True),
    ] = None
    side: Annotated[
        PositiveInt | None,
        Field(description="Side of the images that the encoder sees; by default its own, such as 224"),
        Declared(unit="pixels", added=True),
    ] = None
    # Never written out: it would tell those who get a model where its maker keeps files.
    folder: Annotated[
        str | None,
        Field(description="With `architecture: folder/…`: the folder of an encoder that is on disk", exclude=True),
        Declared(determines=False),
    ] = None

    @model_validator(mode="after")
    def _images_fit(self) -> "EncoderSpec":
        if (self.weights == "public") != (self.images is not None):
            raise ValueError(
                "weights: public and images: <folder or zip archive of public images> go together; add the one that is "
                "missing, or remove the other"
            )
        return self

    @property
    def library(self) -> "EncoderLibrary":
        """The library that it comes from."""
        return encoder_library(self.architecture)


# By its `kind`; a new network is one more of them.
ModelSpec = Annotated[WideResNetSpec | ResNetSpec | EncoderSpec, Field(discriminator="kind")]
