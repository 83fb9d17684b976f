"""`params.yaml`, typed: what exists (data sets, models, methods) and what each scale asks of it.

Everything is refused that is not known: an unknown key, name or value is one clear `ParamsError` before anything runs.
"""

import pkgutil
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema

from dpmix.errors import ParamsError
from dpmix.wording import should_be

DATA_SETS_OF_TORCHVISION = ("cifar-10", "cifar-100", "eurosat", "caltech256", "sun397", "oxford-pet")

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
# The paper's tables by number, added ones by words joined by hyphens; see `table_target`.
TableName = Annotated[str, Field(pattern=r"^(1[0-3]|[1-9]|[a-z][a-z0-9]*(-[a-z0-9]+)*)$", max_length=60)]
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
    """A frozen value that knows no other keys than its own."""

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
        """What `dpmix.synthesis.synthesize` takes of it, beside the model."""
        return self.model_dump(exclude={"name", "model"})


class GivenImagesSpec(Spec):
    """Public images that are there already, in place of a text-to-image model: a folder or zip of class folders."""

    name: str
    images: str


def _source_of_d(value: Any) -> str:
    given = "images" in value if isinstance(value, dict) else isinstance(value, GivenImagesSpec)
    return "given" if given else "drawn"


SyntheticSource = Annotated[
    Annotated[DiffusionSpec, Tag("drawn")] | Annotated[GivenImagesSpec, Tag("given")], Discriminator(_source_of_d)
]


class Settings(BaseModel):
    """What a method, a data set at a scale, or a table's row, column or cell may set; None means "as elsewhere"."""

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
        """These settings, and where one is silent, those of `base`."""
        return base.model_copy(update=self.model_dump(exclude_none=True))


class MethodSpec(Settings):
    """A method: the settings that define it, under the paper's name."""

    label: str


class Axis(Spec):
    """One axis of a table: a list of data sets, models, methods, ε or K's, or labelled groups of settings."""

    axis: str
    dataset: tuple[str, ...] | None = None
    model: tuple[str, ...] | None = None
    method: tuple[str, ...] | None = None
    epsilon: tuple[PositiveFloat, ...] | None = None
    k_base: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    k_self: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    k_diff: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    values: dict[str, Settings] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Axis":
        given = [key for key in self.model_dump(exclude_none=True) if key != "axis"]
        if len(given) != 1:
            raise ValueError(f"axis {self.axis!r} needs exactly one list of values, not {given or 'none'}")
        return self


class TableSpec(Spec):
    """What every table may say, whatever its kind: its words, where the paper's or those of a layout do not stand.

    The rest is a kind's own: subclasses that `TABLE_KINDS` names.
    """

    kind: str
    title: Annotated[str, Field(min_length=1)] | None = None
    caption: str | None = None


TABLE_KINDS = {
    "accuracy": "dpmix.tables.kinds.accuracy:AccuracyTable",
    "runtime": "dpmix.tables.kinds.runtime:RuntimeTable",
    "fid-views": "dpmix.tables.kinds.fid:FidViewsTable",
    "fid-sets": "dpmix.tables.kinds.fid:FidSetsTable",
    "external": "dpmix.tables.kinds.external:ExternalTable",
}
"""The registered kinds of tables: a kind's name to where its class is found.

A kind is one class, a subclass of `dpmix.tables.kinds.base.Kind`: what a table of the kind says in the params, which
cells and artefacts that comes to, and how these are read back. Such a class stands above the catalogue, and the
catalogue above this module, so this module names the classes and loads them when a params file is first read.
"""


def table_kinds() -> dict[str, type[TableSpec]]:
    """The classes of `TABLE_KINDS`, by the kind's name."""
    return {name: pkgutil.resolve_name(place) for name, place in TABLE_KINDS.items()}


class _OfItsKind:
    """Has pydantic validate a `TableSpec` by the class of its kind."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        kinds: Any = Union[tuple(table_kinds().values())]  # noqa: UP007  # a union of what is known at run time only
        return handler.generate_schema(Annotated[kinds, Field(discriminator="kind")])


def table_target(name: str) -> str:
    """The workflow's target for a table, which is also what its files are called.

    The paper's tables keep their numbers; the hyphen keeps the two apart.

    >>> table_target("9"), table_target("my-clipping")
    ('table9', 'table-my-clipping')
    """
    return f"table{name}" if name.isdigit() else f"table-{name}"


def table_order(name: str) -> tuple[int, str]:
    """A key to sort tables by name: the paper's by number, then the added ones by alphabet.

    >>> sorted(["10", "my-clipping", "9"], key=table_order)
    ['9', '10', 'my-clipping']
    """
    return (int(name), "") if name.isdigit() else (sys.maxsize, name)


class FigureSpec(Spec):
    """What a figure shows: Figure 1 the views of one example, Figure 2 gradient histograms."""

    datasets: tuple[str, ...]
    model: str
    methods: tuple[str, ...]
    example: Annotated[int, Field(ge=0)] = 0
    fixed: Settings = Settings()
    seed: Seed = 1


class Tuning(Spec):
    """How a learning rate is chosen: on a part of the training set that the tuning run does not train on.

    `learning_rates` are lr·C, in units of 1 / C, and divided by the run's clip norm C: one grid serves every C. Numbers
    under `learning_rate` are learning rates themselves.
    """

    learning_rates: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: Seed = 0


class Bundling(Spec):
    """How many streams one job takes, and what it gets. None of it changes a result beyond rounding.

    `stream` suits a cluster; `model` suits one machine, where starting a process costs most. `physical_batch` is how
    many examples go through the network together. `encoder_precision` is that of frozen encoders, `auto` being half
    precision on a GPU; `compile_encoder` has torch compile them there.
    """

    by: Literal["stream", "model"]
    threads: PositiveInt = 1
    gpus: Annotated[int, Field(ge=0)] = 0
    physical_batch: PositiveInt = 64
    encoder_precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    compile_encoder: bool = False


class ScaleSpec(Spec):
    """One scale: its data, its default settings, and its tables and figures.

    `prompts` are what an encoder's text tower is asked for each class, zero-shot; embeddings of several are averaged.
    """

    # Until a file is read, the kinds of tables are names only.
    model_config = ConfigDict(defer_build=True)

    synthetic: str
    synthetic_size: dict[str, PositiveInt] = {}
    seeds: Seeds
    bundle: Bundling
    tuning: Tuning
    scratch: Settings
    finetune: Settings
    datasets: dict[str, Settings] = {}
    dataset_methods: dict[str, dict[str, Settings]] = {}
    tables: dict[TableName, Annotated[TableSpec, _OfItsKind()]]
    figures: dict[Literal["1", "2"], FigureSpec]
    prompts: Annotated[tuple[Prompt, ...], Field(min_length=1)] = ("a photo of a {}",)


class Params(Spec):
    """The whole of `params.yaml`."""

    model_config = ConfigDict(defer_build=True)

    scale: str
    datasets: dict[str, DatasetSpec]
    models: dict[str, ModelSpec]
    diffusion: dict[str, SyntheticSource]
    methods: dict[str, MethodSpec]
    scales: dict[str, ScaleSpec]

    def at(self, scale: str | None = None) -> ScaleSpec:
        """The chosen scale's part."""
        name = scale or self.scale
        return self.scales[known(name, self.scales, "scale")]


def known(name: str, names: Any, what: str) -> str:
    """`name` if it is one of `names`; else a `ParamsError` that lists them and the closest."""
    if name in names:
        return name
    raise ParamsError(f"params.yaml: unknown {what} {name!r}; {suggestion(name, names)}")


def suggestion(name: str, names: Any) -> str:
    """What to write instead of `name`: the closest of `names`, or all of them."""
    import difflib

    close = difflib.get_close_matches(name, [str(one) for one in names], n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(map(str, names))}"


def _named(values: Any) -> Any:
    """Give each entry of a mapping its own key as `name`."""
    if not isinstance(values, dict):
        return values
    return {key: {"name": str(key), **value} if isinstance(value, dict) else value for key, value in values.items()}


def _text_keys(values: Any) -> Any:
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else values


def parse(raw: Any) -> Params:
    """Validate a mapping as read from YAML; raises `ParamsError` with one line that names the place and a remedy."""
    if raw is None:
        raise ParamsError("params.yaml: the file is empty; get the project's parameters back and change those")
    if not isinstance(raw, dict):
        raise ParamsError("params.yaml: expected a mapping at the top level, of scale, datasets, models and so on")
    raw = dict(raw)
    for part in ("datasets", "models", "diffusion"):
        raw[part] = _named(raw.get(part))
    if isinstance(raw.get("scales"), dict):
        raw["scales"] = {
            name: {**spec, **{part: _text_keys(spec.get(part)) for part in ("tables", "figures")}}
            if isinstance(spec, dict)
            else spec
            for name, spec in raw["scales"].items()
        }
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        raise ParamsError(_one_line(error, raw)) from error
    _check_names(params)
    return params


def _one_line(error: ValidationError, raw: dict[Any, Any]) -> str:
    """The first mistake, at its place in the file, and in how many more places there are others."""
    # A key that is misspelt is also missing; what was written says more.
    errors = sorted(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    first = errors[0]
    places = list(dict.fromkeys(_place(one, raw) for one in errors))
    # One wrong value of several allowed types is an error for each type, all in one place.
    here = [one for one in errors if _place(one, raw) == places[0]]
    more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    place, value = ".".join(places[0]), first.get("input")
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])
        what = f"unknown key; {suggestion(name, _keys_beside(first['loc'], raw))}"
    elif first["loc"][-1] == "[key]":
        part = place.rpartition(".")[0]
        what = (
            "a table is named 1 to 13, as the paper's, or by lower-case words joined by hyphens (at most 60 "
            "characters), such as my-clipping; rename or remove it"
            if part.endswith("tables")
            else "the paper has no such figure, only 1 and 2; rename or remove it"
        )
    elif first["type"] == "missing":
        what = "is needed, but not there; add it"
    elif first["type"] == "union_tag_invalid":
        kinds = re.findall("'([^']+)'", first["ctx"]["expected_tags"])
        what = f"unknown kind {first['ctx']['tag']!r}; {suggestion(str(first['ctx']['tag']), kinds)}"
    elif first["type"] == "union_tag_not_found":
        what = "kind is needed, but not there; add it"
    elif first["type"] in ("dict_type", "model_type", "model_attributes_type"):
        what = "should be a mapping"
    elif first["type"] == "too_short":
        what = "should have at least one entry"
    elif len(here) > 1 and len({one["type"] for one in here}) > 1:
        what = should_be(here)
    elif first["type"] == "value_error" or isinstance(value, dict | list | tuple):
        what = first["msg"].removeprefix("Value error, ").replace("Input should be", "should be", 1)
    elif first["msg"].startswith("Input should be "):
        what = should_be(here)
    else:
        what = f"{first['msg']}, not {value!r}"
    return f"params.yaml: {place}: {what}{more}"


def _place(error: Mapping[str, Any], raw: Any) -> tuple[str, ...]:
    """Where a mistake stands in the file: the names that validation gives to alternatives are left out."""
    place, here = [], raw
    location = error["loc"]
    for index, part in enumerate(location):
        inside = isinstance(here, dict) and part in here
        if inside or (isinstance(here, list | tuple) and isinstance(part, int) and part < len(here)):
            here = here[part]
        elif error["type"] != "missing" or index < len(location) - 1:
            continue
        place.append(str(part))
    return tuple(place)


def _keys_beside(location: tuple[int | str, ...], raw: Any) -> list[str]:
    """The keys that may stand where `location` has an unknown one, from the models themselves."""
    kinds: list[type[BaseModel]] = [Params]
    for part in location[:-1]:
        inner: list[type[BaseModel]] = []
        for kind in kinds:
            field = kind.model_fields.get(str(part))
            inner += _models_in(field.annotation) if field is not None else []
        # A key of a mapping, an index, or the tag of an alternative: still the same models.
        kinds = inner or kinds
        tagged = [kind for kind in kinds if part in _tags(kind)]
        kinds = tagged or kinds
    names = dict.fromkeys(name for kind in kinds for name in kind.model_fields)
    return [name for name in names if name != "name"]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a field's type mentions."""
    from typing import get_args

    if annotation is TableSpec:
        return list(table_kinds().values())
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _tags(kind: type[BaseModel]) -> tuple[Any, ...]:
    from typing import get_args

    field = kind.model_fields.get("kind")
    return get_args(field.annotation) if field is not None else ()


def _check_names(params: Params) -> None:
    """Refuse names that would otherwise be looked up late or never."""
    params.at()
    for name, dataset in params.datasets.items():
        if dataset.parent is not None:
            parent = params.datasets[known(dataset.parent, params.datasets, f"parent of {name}")]
            if parent.parent is not None:
                raise ParamsError(
                    f"params.yaml: datasets.{name}.parent: {dataset.parent} is itself a part of {parent.parent}; name "
                    "the data set that has synthetic images of its own"
                )
    for scale, spec in params.scales.items():
        known(spec.synthetic, params.diffusion, f"diffusion model in scales.{scale}.synthetic")
        for part in ("synthetic_size", "datasets", "dataset_methods"):
            for name in getattr(spec, part):
                known(name, params.datasets, f"dataset in scales.{scale}.{part}")
        for name, methods in spec.dataset_methods.items():
            for method in methods:
                known(method, params.methods, f"method in scales.{scale}.dataset_methods.{name}")


def read(path: Path) -> Params:
    """Read and validate a params file."""
    return parse(load_yaml(path))


def load_yaml(path: Path | str) -> Any:
    """What is in a YAML file; one that is missing, unreadable or broken is one clear `ParamsError`."""
    import yaml

    try:
        with Path(path).open(encoding="utf-8") as file:
            return yaml.safe_load(file)
    except FileNotFoundError as error:
        raise ParamsError(f"{path} does not exist; run from the repository's root or pass --params") from error
    except OSError as error:
        raise ParamsError(f"{path} cannot be read ({error.strerror}); pass a YAML file by --params") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
