"""The scales of `params.yaml`: the data, default settings, tables and figures of each; and the file as a whole."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from dpmix.errors import known
from dpmix.params.declared import Declared, PositiveFloat, PositiveInt, Seed, Seeds, Spec
from dpmix.params.keys import Name
from dpmix.params.models import ModelSpec
from dpmix.params.settings import MethodSpec, Settings
from dpmix.params.specs import DatasetSpec, Prompt, SyntheticSource
from dpmix.params.tables import FigureSpec, OfItsKind, TableName, TableSpec

ROUNDING = "rounding counts"


class Tuning(Spec):
    """How a learning rate of `tuned` is chosen: by accuracy on training images that the tuning run does not train on.

    `learning_rates` are products lr·C of learning rate and clip norm, so that one grid serves every C: a run's
    candidates are these numbers divided by its own C. A number given as `learning_rate` elsewhere is the learning rate
    itself.
    """

    learning_rates: Annotated[
        tuple[PositiveFloat, ...],
        Field(min_length=1, description="The candidates, as products lr·C"),
        Declared(unit="1 / C"),
    ]
    holdout: Annotated[
        float,
        Field(gt=0, lt=1, description="Share of the training images that is held out"),
        Declared(unit="share"),
    ] = 0.2
    seed: Annotated[Seed, Field(description="Of the tuning runs, whatever the seed of the run")] = 0


class Bundling(Spec):
    """The `bundle` of a scale: how runs are grouped into jobs, and how a job computes.

    None of it is part of what a result means; a step is the same up to rounding, which training from scratch makes
    grow. On a processor a network from scratch is the same to the last bit for any physical batch, and for any number
    of processes with as many threads each. `by: stream` makes a job of each stream of samples, which suits a cluster
    with more GPUs than data sets; `by: images` makes one of all streams of heads on the same images, of all seeds,
    which encodes a crop that comes again once; `by: model` makes one of all streams of a model and a seed, which suits
    one machine, where starting a process takes longest.
    """

    by: Annotated[
        Literal["stream", "images", "model"],
        Field(description="What the runs of one job have in common beside the model: the stream, images, or the seed"),
        Declared(determines=False),
    ]
    threads: Annotated[
        PositiveInt, Field(description="Processor threads of a job"), Declared(unit="threads", determines=False)
    ] = 1
    gpus: Annotated[
        int,
        Field(ge=0, description="GPUs of a job; several share each run, one process for each"),
        Declared(unit="GPUs", determines=False, unless=ROUNDING),
    ] = 0
    physical_batch: Annotated[
        PositiveInt,
        Field(
            description="How many examples go through an encoder together, and on a GPU through a network from "
            "scratch; halved when memory runs out"
        ),
        Declared(unit="examples", determines=False, unless=ROUNDING),
    ] = 64
    encoder_precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Field(description="Of frozen encoders; `auto`: half precision on a GPU, float32 elsewhere"),
        Declared(determines=False, unless=ROUNDING),
    ] = "auto"
    compile_encoder: Annotated[
        bool,
        Field(description="Whether torch compiles frozen encoders on a GPU"),
        Declared(determines=False, unless=ROUNDING),
    ] = False
    remembered: Annotated[
        int,
        Field(
            ge=0,
            description="Features that a job keeps in memory, so that an image which several runs see, such as a view "
            "that methods share, is encoded once; with `by: model`, and on a processor",
        ),
        Declared(unit="images", determines=False, unless=ROUNDING),
    ] = 0
    kept_gigabytes: Annotated[
        float,
        Field(
            ge=0,
            description="What features of views that come again (crops, or `view_sets`) may take, of all processes of "
            "a job, in memory or in a file that is gone when the job ends; 0: such views are encoded each time",
        ),
        Declared(unit="GB", determines=False, unless=ROUNDING),
    ] = 16.0


class ScaleSpec(Spec):
    """One scale: its data, its default settings, and its tables and figures."""

    # The classes of the tables' kinds are imported when a file is first read, so the model is built only then.
    model_config = ConfigDict(defer_build=True)

    synthetic: Annotated[
        str, Field(description="Where D is from: a name under `diffusion`"), Declared(unless="D is not used")
    ]
    synthetic_size: Annotated[
        dict[str, PositiveInt],
        Field(description="|D| by data set; by default as many as its training images"),
        Declared(unit="images", unless="D is not used"),
    ] = {}
    seeds: Annotated[Seeds, Field(description="Each cell of a table is the mean of one run for each of these seeds")]
    bundle: Annotated[
        Bundling, Field(description="How runs are grouped into jobs"), Declared(determines=False, unless=ROUNDING)
    ]
    tuning: Annotated[
        Tuning, Field(description="How learning rates are chosen"), Declared(unless="no learning rate is tuned")
    ]
    scratch: Annotated[Settings, Field(description="Settings of networks that are trained from scratch")]
    finetune: Annotated[Settings, Field(description="Settings of linear heads on frozen encoders")]
    datasets: Annotated[
        dict[str, Settings], Field(description="Settings of a data set, over those of the kind of model")
    ] = {}
    dataset_methods: Annotated[
        dict[str, dict[str, Settings]],
        Field(description="Settings of a method on a data set, over the method's own; by data set, then method"),
    ] = {}
    tables: Annotated[
        dict[TableName, Annotated[TableSpec, OfItsKind()]],
        Field(description="The tables by name: 1 to 13 are the paper's, others have names of one's own"),
    ]
    figures: Annotated[dict[Literal["1", "2"], FigureSpec], Field(description="The figures by the paper's number")]
    prompts: Annotated[
        tuple[Prompt, ...],
        Field(
            min_length=1,
            description="What zero-shot classification asks an encoder of each class; of several the embeddings are "
            "averaged",
        ),
        Declared(unless="nothing is classified zero-shot"),
    ] = ("a photo of a {}",)


class Params(Spec):
    """The whole of `params.yaml`."""

    model_config = ConfigDict(defer_build=True)

    scale: Annotated[
        str, Field(description="Name of the scale that is run if none is named"), Declared(determines=False)
    ]
    datasets: Annotated[dict[Name, DatasetSpec], Field(description="The private data sets by name")]
    models: Annotated[dict[Name, ModelSpec], Field(description="Networks and encoders by name")]
    diffusion: Annotated[dict[Name, SyntheticSource], Field(description="Sources of synthetic images D by name")]
    methods: Annotated[dict[Name, MethodSpec], Field(description="Methods by name")]
    scales: Annotated[dict[Name, ScaleSpec], Field(min_length=1, description="What is run, on which data, by name")]

    def at(self, scale: str | None = None) -> ScaleSpec:
        """The part of a scale, by default of the one that `scale` names.

        Raises:
            ParamsError: if there is no such scale.
        """
        name = scale or self.scale
        return self.scales[known(name, self.scales, "scale")]
