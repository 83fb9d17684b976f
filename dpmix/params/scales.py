"""The scales of `params.yaml`: the data, default settings, tables and figures of each; and the file as a whole."""

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
    """How a learning rate of `tuned` is chosen: by accuracy on training images that the tuning run does not train on.

    Attributes:
        learning_rates: the candidates, as products lr·C of learning rate and clip norm, so that one grid serves every
            C; a run's candidates are these numbers divided by its own C. (A number given as `learning_rate` elsewhere
            is the learning rate itself.)
        holdout: the share of the training images that is held out.
        seed: of the tuning runs.
    """

    learning_rates: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: Seed = 0


class Bundling(Spec):
    """The `bundle` of a scale: how runs are grouped into jobs, and how a job computes.

    None of it changes a result beyond rounding.

    Attributes:
        by: `stream` makes a job of each stream of views, which suits a cluster; `model` makes one of all streams of a
            model and a seed, which suits one machine, where starting a process takes longest.
        threads: processor threads of a job.
        gpus: GPUs of a job.
        physical_batch: examples that go through a network together.
        encoder_precision: of frozen encoders; `auto` is half precision on a GPU and float32 elsewhere.
        compile_encoder: whether `torch.compile` is used for frozen encoders, on a GPU.
    """

    by: Literal["stream", "model"]
    threads: PositiveInt = 1
    gpus: Annotated[int, Field(ge=0)] = 0
    physical_batch: PositiveInt = 64
    encoder_precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    compile_encoder: bool = False


class ScaleSpec(Spec):
    """One scale: its data, its default settings, and its tables and figures.

    Attributes:
        synthetic: the entry under `diffusion` that makes D.
        synthetic_size: |D| by data set; by default as many images as the data set has for training.
        seeds: of each cell's runs.
        bundle: how runs are grouped into jobs.
        tuning: how learning rates are chosen.
        scratch: default settings of networks trained from scratch.
        finetune: default settings of linear heads on encoders.
        datasets: settings by data set.
        dataset_methods: settings by data set and method.
        tables: by name.
        figures: by number.
        prompts: the captions of each class for zero-shot classification, with `{}` for the class name; the embeddings
            of several are averaged.
    """

    # The classes of the tables' kinds are imported when a file is first read, so the model is built only then.
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
        """The part of a scale, by default of the one that `scale` names.

        Raises:
            ParamsError: if there is no such scale.
        """
        name = scale or self.scale
        return self.scales[known(name, self.scales, "scale")]
