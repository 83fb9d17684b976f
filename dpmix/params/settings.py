"""The settings of a run, each declared once: privacy target, training, and views.

`RunSettings` has the settings of a complete run, with their defaults; `Experiment` has these fields. `Settings` has the
same settings as one part of `params.yaml` gives them, where each may be missing (None).
"""

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, create_model

from dpmix.params.declared import Declared, Line, Passes, PositiveFloat, Spec, declared
from dpmix.params.keys import number_of_key
from dpmix.params.registries import ClippingName, EngineName, MixingName

# JSON has no infinity: a run without noise says "inf".
Epsilon = Annotated[
    float,
    Field(gt=0),
    PlainSerializer(lambda value: "inf" if value == math.inf else value, when_used="json"),
]

EpsilonKey = Annotated[Epsilon, BeforeValidator(number_of_key)]


class PlanSettings(Spec):
    """The privacy target of a run, for which noise is calibrated: ε, and what ε depends on besides the noise."""

    epsilon: Annotated[
        Epsilon,
        Field(description="ε that the whole run may spend; `.inf` trains without noise"),
        Declared(of_head=True),
    ]
    delta: Annotated[
        float,
        Field(gt=0, lt=1, description="δ of (ε, δ)-differential privacy; below 1 / N"),
        Declared(unit="probability", unless="`epsilon` is `.inf`", of_head=True),
    ]
    accountant: Annotated[
        Literal["rdp", "prv", "pld"],
        Field(description="How noise becomes ε: Rényi DP, privacy random variables or privacy loss distributions"),
        Declared(unless="`epsilon` is `.inf`", of_head=True),
    ]
    clip_norm: Annotated[
        PositiveFloat,
        Field(description="C: the gradient of an example, averaged over its views, has at most this L2 norm"),
        Declared(unit="L2 norm", of_head=True),
    ]
    batch_size: Annotated[
        int,
        Field(gt=0, description="B: expected size of a batch; each step samples every example with probability B / N"),
        Declared(unit="examples"),
    ]
    unit: Annotated[
        Literal["image", "person"],
        Field(description="Whom ε protects, and what an example then is: an image, or a person with all their images"),
        Declared(added=True),
    ] = "image"
    epochs: Annotated[
        Passes,
        Field(
            description="How often an example is sampled on average; a run has epochs · N / B steps, rounded down. May "
            "be a fraction"
        ),
        Declared(unit="epochs"),
    ]
    bands: Annotated[
        int,
        Field(
            gt=0,
            description="Steps across which noise is correlated, by banded matrix factorization; 1: independent noise",
        ),
        Declared(unit="steps", added=True),
    ] = 1
    update: Annotated[
        Literal["sgd", "model-mix"],
        Field(description="How noisy gradients become weights: SGD, or ModelMix, for networks from scratch"),
        Declared(added=True),
    ] = "sgd"
    mix_width: Annotated[
        PositiveFloat,
        Field(
            le=1000,
            description="τ / η of ModelMix: each step mixes weights at least this times the learning rate apart",
        ),
        Declared(unit="gradient", unless="neither `update` is `model-mix` nor `calibration` is `matched`", added=True),
    ] = 0.15
    truncation: Annotated[
        float,
        Field(
            ge=1, allow_inf_nan=False, description="p: `clipping: coordinates` cuts entries of gradients to ± C / √p"
        ),
        Declared(unless="`clipping` is not `coordinates`", added=True, of_head=True),
    ] = 100.0
    batches: Annotated[
        Literal["poisson", "fixed-order"],
        Field(
            description="Poisson samples, or the same batches in each epoch, as the released program has them: ε is "
            "then nominal, and another is spent"
        ),
        Declared(added=True),
    ] = "poisson"
    calibration: Annotated[
        Literal["least", "accountant", "matched"],
        Field(
            description="How much noise: the least that meets ε; of ModelMix what `accountant` asks for, as if mixing "
            "were worth nothing; or for SGD as much as noise and mixing of ModelMix have together, at a smaller ε"
        ),
        Declared(added=True),
    ] = "least"
    microbatch_size: Annotated[
        int,
        Field(gt=0, description="Examples that are sampled and clipped as one unit, of networks from scratch"),
        Declared(unit="examples", view="microbatch_size"),
    ] = 1

    @property
    def epsilon_word(self) -> str:
        """What `epsilon` is called in paths: `eps`, or `nominal` where it is no guarantee."""
        return "eps" if self.batches == "poisson" else "nominal"

    @property
    def epsilon_text(self) -> str:
        """ε for people: `ε=8`, or `nominal ε=8` where it is no guarantee."""
        return f"{'' if self.batches == 'poisson' else 'nominal '}ε={self.epsilon:g}"


class RunSettings(PlanSettings):
    """The settings of a complete run. Those with a default have it where no part of the params sets them."""

    clipping: Annotated[
        ClippingName,
        Field(
            description="How gradients are clipped: to C, normalised to C (AUTO-S), each layer to its part of C, or "
            "to C and then each entry (`coordinates`)"
        ),
        Declared(unless="the one layer of a linear head is clipped per layer", added=True, of_head=True),
    ] = "flat"
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"],
        Field(description="Of forward and backward passes of networks from scratch; norms and sums are in float32"),
        Declared(added=True),
    ] = "float32"
    engine: Annotated[
        EngineName,
        Field(description="What computes clipped gradients of networks from scratch: PyTorch, or JAX by jax-privacy"),
        Declared(added=True),
    ] = "torch"
    momentum: Annotated[
        float,
        Field(ge=0, lt=1, description="Momentum of SGD, or of ModelMix as heavy ball on released weights; 0: none"),
        Declared(of_head=True),
    ] = 0.0
    weight_decay: Annotated[
        float,
        Field(
            ge=0, allow_inf_nan=False, description="L2 penalty: this times the weights is added to the noisy gradient"
        ),
        Declared(of_head=True),
    ] = 0.0
    ema_decay: Annotated[
        float,
        Field(ge=0, lt=1, description="Weights are evaluated as averaged over steps, by this decay; 0: the last ones"),
        Declared(added=True),
    ] = 0.0
    k_base: Annotated[
        int,
        Field(ge=0, description="K_BASE: views of an example that are the example itself, transformed"),
        Declared(unit="views", view="k_base"),
    ]
    k_self: Annotated[
        int,
        Field(ge=0, description="K_SELF: views that are mixtures of two of the other views"),
        Declared(unit="views", view="k_self"),
    ] = 0
    k_diff: Annotated[
        int,
        Field(ge=0, description="K_DIFF: views that are synthetic images, drawn from D without replacement"),
        Declared(unit="views", view="k_diff"),
    ] = 0
    mixup_alpha: Annotated[
        float,
        Field(gt=0, le=1, description="α: a mixture's weights are λ and 1 - λ, with λ drawn from Beta(α, α)"),
        Declared(unless="nothing is mixed", view="alpha"),
    ] = 0.2
    mixup_pairs: Annotated[
        Literal["distinct", "independent"],
        Field(description="Whether the two views of a mixture always differ, or are drawn independently"),
        Declared(unless="k_self is 0 or its views are unmixed", view="pairs"),
    ] = "distinct"
    mixing: Annotated[
        MixingName,
        Field(
            description="Whether mixtures are weighted means, or one image with a rectangle of the other; `unmixed`: "
            "copies of one image with a mixed label, as the released program makes them"
        ),
        Declared(unless="nothing is mixed", added=True, view="mixing"),
    ] = "mixup"
    transforms: Annotated[
        tuple[str, ...],
        Field(description="Transforms of each view by name, in order: those of dpmix/views/transforms.py"),
        Declared(unless="no view is transformed", view="transforms"),
    ] = ()
    padding: Annotated[
        int,
        Field(ge=0, description="Border that is added on each side before `crop` cuts an image of the old size"),
        Declared(unit="pixels", unless="nothing is cropped", view="padding"),
    ] = 0
    augment_synthetic: Annotated[
        bool,
        Field(description="Whether synthetic images are transformed as the example is"),
        Declared(unless="no synthetic image is transformed", view="augment_synthetic"),
    ] = True
    view_sets: Annotated[
        int,
        Field(
            ge=0,
            lt=2**32,
            description="R: a step shows one of R sets of K views of each example, so that encoders need not pass "
            "views again that they have passed; 0: each step draws new views, as in the paper",
        ),
        Declared(unit="sets", unless="an example's views are always the same", added=True),
    ] = 0
    microbatch_mixup: Annotated[
        Literal["none", "added", "alone"],
        Field(description="Whether the mixture of a unit's two examples is added to its views, or is its only view"),
        Declared(view="microbatch_mixup"),
    ] = "none"
    pretrain_epochs: Annotated[
        int,
        Field(ge=0, description="Epochs on D, without noise, before a linear head sees private images"),
        Declared(unit="epochs", of_head=True),
    ] = 0
    subset: Annotated[
        Literal["all", "S1"],
        Field(description="Whether all of the training set is private and trained on, or its half S1 alone"),
    ] = "all"
    mix_with: Annotated[
        Literal["synthetic", "S2"],
        Field(description="What k_diff draws from: D, or the half S2 that is not trained on, as if it were public"),
        Declared(unless="k_diff is 0", of_head=True),
    ] = "synthetic"
    release: Annotated[
        bool,
        Field(
            description="Whether the model is for release: sample and noise then have no seed, and the model is saved"
        ),
        Declared(added=True),
    ] = False


class NamedSettings(Spec):
    """Settings that a run replaces: names, by what they name, and a learning rate of `tuned`, by the chosen number."""

    dataset: Annotated[str | None, Field(description="Name of a data set under `datasets`")] = None
    model: Annotated[str | None, Field(description="Name of a model under `models`")] = None
    method: Annotated[str | None, Field(description="Name of a method under `methods`"), Declared(of_head=True)] = None
    learning_rate: Annotated[
        PositiveFloat | Literal["tuned"] | dict[EpsilonKey, PositiveFloat] | None,
        Field(description="Of SGD on mean gradients; `tuned`: chosen on held-out images; or one for each ε"),
        Declared(of_head=True),
    ] = None


if TYPE_CHECKING:

    class _MaybeRunSettings(Spec):
        # The only one of these fields that code reads by its name.
        epsilon: float | None = None

else:

    def _maybe(kind: type[Spec]) -> type[Spec]:
        """A class with the same fields, all of which may be None and are None by default."""
        fields = {}
        for name, field in kind.model_fields.items():
            bounds = [one for one in field.metadata if not isinstance(one, Declared)]
            value = Annotated[(field.annotation, *bounds)] if bounds else field.annotation
            said = Field(default=None, description=field.description)
            fields[name] = (Annotated[value | None, declared(field)], said)
        return create_model(f"Maybe{kind.__name__}", __base__=Spec, **fields)

    _MaybeRunSettings = _maybe(RunSettings)


class Settings(_MaybeRunSettings, NamedSettings):
    """Settings of a run, as a method, a data set at a scale, or a table's row, column or cell may give them.

    None is not set here: the value then comes from elsewhere, see `dpmix.catalogue.catalogue`.
    """

    def over(self, base: "Settings") -> "Settings":
        """These settings, with the values of `base` for those that are None here."""
        return base.model_copy(update=self.model_dump(exclude_none=True))


class MethodSpec(Settings):
    """A method: the settings that define it, under the paper's name."""

    label: Annotated[Line, Field(min_length=1, description="What tables call it"), Declared(determines=False)]


# The settings that determine the views of an example, and their names in `dpmix.views.settings.ViewSettings`.
OF_VIEWS = {name: said.view for name, field in RunSettings.model_fields.items() if (said := declared(field)).view}

# The settings in which heads that are trained on the same samples may differ.
OF_HEADS = frozenset(
    name for name, field in Settings.model_fields.items() if (said := declared(field)).of_head or said.view
)


def default(name: str) -> Any:
    """The default of a setting of a run, by its name; one that must be given has none."""
    return RunSettings.model_fields[name].default


def values_of(kind: type[Spec], of: Spec) -> dict[str, Any]:
    """The values that `of` has for the fields of the class `kind`, by name: `values_of(PlanSettings, experiment)`."""
    return {name: getattr(of, name) for name in kind.model_fields}
