"""The scales of `params.yaml`: which data, settings, tables and figures each has, and the file as a whole."""

from typing import Annotated, Literal

from pydantic import (
    ConfigDict,
    Field,
)

from dpmix.errors import known
from dpmix.params.specs import (
    DatasetSpec,
    MethodSpec,
    ModelSpec,
    PositiveFloat,
    PositiveInt,
    Prompt,
    Seed,
    Seeds,
    Settings,
    Spec,
    SyntheticSource,
)
from dpmix.params.tables import FigureSpec, OfItsKind, TableName, TableSpec


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
    tables: dict[TableName, Annotated[TableSpec, OfItsKind()]]
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
