"""The parts of `params.yaml` that say what exists: data sets, models, and sources of D."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from dpmix.errors import suggestion
from dpmix.params.declared import Declared, Line, PositiveInt, Seed, Spec
from dpmix.params.keys import Name
from dpmix.params.registries import DATA_SETS, SchedulerName


def _with_a_place(prompt: str) -> str:
    if "{}" not in prompt:
        raise ValueError(f"the prompt {prompt!r} does not name the class; write {{}} where the name goes")
    try:
        prompt.format("cat")
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise ValueError(f"the prompt {prompt!r} has other braces than one {{}}; remove them") from error
    return prompt


Prompt = Annotated[str, AfterValidator(_with_a_place)]

EntryName = Annotated[Name, Field(description="Its key")]

Label = Annotated[Line, Field(min_length=1, description="What tables call it"), Declared(determines=False)]

Resolution = Annotated[
    PositiveInt, Field(description="Side at which images are stored, cropped and mixed"), Declared(unit="pixels")
]


MD5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class InceptionSpec(Spec):
    """InceptionV3's weights, by whose features a Fréchet distance is called FID: torch-fidelity's copy."""

    url: Annotated[str, Field(description="Where they are fetched"), Declared(determines=False)] = (
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
    )
    sha256: Annotated[
        str, Field(pattern="^[0-9a-f]{8,64}$", description="The SHA-256 of the file, or its first eight digits or more")
    ] = "6726825d"


class DatasetSpec(Spec):
    """A private data set. `train`, `persons` and `test` are its published sizes, never counted at run time."""

    name: EntryName
    label: Label
    source: Annotated[
        Literal["torchvision", "scikit-learn", "folder", "listed"],
        Field(
            description="Which library fetches it, or `folder` for images that are at `path`, or `listed` for those of "
            "a manifest, which `dpmix.data.manifest` writes"
        ),
    ]
    classes: Annotated[PositiveInt, Field(description="How many classes it has"), Declared(unit="classes")]
    train: Annotated[
        PositiveInt | None,
        Field(description="N: published size of its training set; may be left out where `persons` is given"),
        Declared(unit="images"),
    ] = None
    test: Annotated[PositiveInt, Field(description="Published size of its test set"), Declared(unit="images")]
    channels: Annotated[
        Literal[1, 3], Field(description="1 of grey images, 3 of colour images"), Declared(unit="channels")
    ] = 3
    path: Annotated[
        str | None,
        Field(
            description="Of a folder data set: a folder of class folders, a zip archive of one, or a folder with "
            "archives `train*.zip` and `test*.zip`; of a listed one: its manifest, `file_name,label,split[,person]`"
        ),
    ] = None
    skip_damaged: Annotated[
        bool,
        Field(
            description="Whether images of a folder data set that cannot be read are left out; sizes are without them"
        ),
        Declared(added=True),
    ] = False
    persons: Annotated[
        PositiveInt | None,
        Field(description="Published number of persons whose images are its training set; N with `unit: person`"),
        Declared(unit="persons", added=True),
    ] = None
    drawn_from: Annotated[
        PositiveInt | None,
        Field(
            description="Of a folder data set that is a part of a larger one: the published size of that one's "
            "training set, of which `train` images are drawn, each class in proportion"
        ),
        Declared(unit="images", added=True),
    ] = None
    mirrors: Annotated[
        dict[str, str] | None,
        Field(
            description="Of a published data set: by the file name of an archive, the address from which it is fetched "
            "instead of from its publisher"
        ),
        Declared(determines=False),
    ] = None
    checksums: Annotated[
        dict[str, MD5] | None,
        Field(
            description="Of a published data set: by the file name of an archive, the MD5 sum of another one that is "
            "used in its place"
        ),
        Declared(added=True),
    ] = None
    parent: Annotated[
        str | None,
        Field(description="Name of the data set that this one is a part of, whose synthetic images it shares"),
        Declared(determines=False, unless="D is used"),
    ] = None

    @model_validator(mode="after")
    def _source_fits(self) -> "DatasetSpec":
        if self.source == "folder" and self.path is None:
            raise ValueError(
                "a folder data set needs `path`; add it: a folder or zip archive with a folder for each class"
            )
        if self.source == "listed" and self.path is None:
            raise ValueError("a listed data set needs `path`; add it: the manifest of its images")
        if self.skip_damaged and self.source != "folder":
            raise ValueError("only of a folder data set damaged images can be left out; remove skip_damaged")
        if self.source == "torchvision" and self.name not in DATA_SETS:
            raise ValueError(f"no published data set is called {self.name!r}; {suggestion(self.name, DATA_SETS)}")
        if (self.mirrors or self.checksums) and self.source != "torchvision":
            raise ValueError(
                "mirrors and checksums are of archives, and only a published data set (source: torchvision) has any; "
                "remove them"
            )
        if self.drawn_from is not None and self.source != "folder":
            raise ValueError(f"drawn_from is for a folder data set, and its source is {self.source}; remove it")
        if self.drawn_from is not None and (self.train is None or self.drawn_from < self.train):
            raise ValueError(
                "drawn_from is the number of training images that `train` of them are drawn from; give train, and no "
                "more than drawn_from"
            )
        if self.train is None and self.persons is None:
            raise ValueError(
                "its size is missing; add train, the published number of training images, or persons, that of the "
                "persons whose images they are"
            )
        return self

    def __hash__(self) -> int:
        # Archives are named in mappings, which have no hash of their own.
        return hash(self.model_dump_json())

    @property
    def records(self) -> int:
        """The published size of its training set: in images, or in persons if the number of images is not published."""
        size = self.persons if self.train is None else self.train
        assert size is not None
        return size


class DiffusionSpec(Spec):
    """A text-to-image model and how it is sampled. `model: strokes` is the demo's, trained on drawn digits.

    `saved_resolution` should be no less than any encoder's resolution.
    """

    name: EntryName
    model: Annotated[
        str, Field(description="Repository of the Hugging Face hub, folder in diffusers' format, or `strokes`")
    ]
    revision: Annotated[str | None, Field(description="Commit, tag or branch of the repository")] = None
    prompt: Annotated[Prompt, Field(description="What an image is asked for; `{}` is where the class name goes")] = (
        "a photo of a {}"
    )
    guidance_scale: Annotated[float, Field(allow_inf_nan=False, description="Classifier-free guidance; 1: none")]
    steps: Annotated[PositiveInt, Field(description="Denoising steps of an image"), Declared("steps")]
    resolution: Annotated[
        PositiveInt,
        Field(multiple_of=8, description="Side of the images as they are drawn, a multiple of 8"),
        Declared("pixels"),
    ]
    scheduler: Annotated[SchedulerName, Field(description="Class of diffusers that schedules the steps")]
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

    name: EntryName
    images: Annotated[str, Field(description="Folder or zip archive of class folders")]
    skip_damaged: Annotated[
        bool,
        Field(description="Whether images that cannot be read are left out; `synthetic_size` is without them"),
        Declared(added=True),
    ] = False

    @model_validator(mode="before")
    @classmethod
    def _no_model(cls, values: Any) -> Any:
        if isinstance(values, dict) and "model" in values:
            raise ValueError("it has both model and images; say where D is from by either, and remove the other")
        return values


def _source_of_d(value: Any) -> str:
    given = "images" in value if isinstance(value, dict) else isinstance(value, GivenImagesSpec)
    return "given" if given else "drawn"


SyntheticSource = Annotated[
    Annotated[DiffusionSpec, Tag("drawn")] | Annotated[GivenImagesSpec, Tag("given")], Discriminator(_source_of_d)
]
