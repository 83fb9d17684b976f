"""The types and bounds of what `privacy.json` and `config.json` say, so that a file that was edited is one line.

Other entries than these may be there. What they say beside the model's own steps is held against these by
`dpmix.own.model.privacy_check`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dpmix.errors import DataError


class _Fields(BaseModel):
    """Entries of their own types: no text for a number, no infinity and no NaN."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, frozen=True)


_Count = Annotated[int, Field(gt=0, lt=2**63)]
_FromZero = Annotated[int, Field(ge=0, lt=2**63)]
_Positive = Annotated[float, Field(gt=0)]
_Loss = Annotated[float, Field(ge=0)]
_Delta = Annotated[float, Field(gt=0, lt=1)]


class Evaluation(_Fields):
    """An accuracy on test images that was released with noise.

    Attributes:
        accuracy: in per cent, with its noise.
        images: how many test images it is of.
        epsilon: what it spent on them.
    """

    accuracy: float = Field(ge=0, le=100)
    images: _Count
    epsilon: float = Field(gt=0, le=10)


class Audit(_Fields):
    """What an audit of a configuration found (`dpmix.own.research.audit.Audited`).

    Attributes:
        epsilon_lower_bound: ε is at least this.
        without_assumptions: the bound that assumes nothing.
        confidence: that both bounds hold.
        observations: canaries that were in; as many were left out.
        runs: of the trainer.
        contradicted: whether the bound exceeds the model's ε.
    """

    epsilon_lower_bound: _Loss
    without_assumptions: _Loss
    confidence: float = Field(gt=0, lt=1)
    observations: _Count
    runs: _Count
    contradicted: bool


class Together(_Fields):
    """ε of this and all earlier models of the same images.

    Attributes:
        epsilon: ε of all.
        delta: δ of it.
        models: how many.
        test_epsilon: what accuracies that were released with noise have spent on the test images, without δ.
        other_unit: how many models of these images are not counted, because they protect persons and not images, or
            images and not persons.
        research: how many runs for research are not counted, which no ε covers.
    """

    epsilon: _Loss
    delta: _Delta
    models: _Count
    test_epsilon: _Loss
    other_unit: _FromZero
    research: _FromZero


class _Definition(_Fields):
    unit: Literal["image", "person"]
    adjacency: str


class _Several(_Fields):
    images: _Count
    epsilon: _Loss | None


class _Guarantee(_Fields):
    delta: _Delta
    epsilon: dict[str, _Loss] = Field(min_length=1)
    gdp_mu: _Loss
    persons: list[_Several] | None = None


class _Population(_Fields):
    name: str
    units: _Count
    public_because: str


class _Executed(_Fields):
    noise_multiplier: _Positive
    sampling_rate: float = Field(gt=0, le=1)
    steps: _Count


class _Steps(_Fields):
    planned: _Count
    executed: _Count


class _Mechanism(_Fields):
    name: str
    bound_of_one_image: bool
    clip_norm: _Positive
    expected_batch: _Count
    steps: _Steps
    executed: list[_Executed] = Field(min_length=1)


class _Tuning(_Fields):
    learning_rate: _Loss
    private_choice: str


class _Privacy(_Fields):
    definition: _Definition
    guarantee: _Guarantee
    population: _Population
    mechanism: _Mechanism
    tuning: _Tuning
    public_data: list[str]
    base_model: str | None
    evaluation: Evaluation | None
    audit: Audit | None
    together: Together | None
    not_covered: list[str]
    command: str | None


class _Split(_Fields):
    test_share: float | None = Field(default=None, gt=0, lt=1)
    key: str | None = None
    persons: bool | None = None


class _Config(_Fields):
    label_names: list[str] = Field(min_length=1)
    num_classes: _Count
    encoder: dict[str, Any] | None
    resolution: int = Field(gt=0, le=2**16)
    channels: Literal[1, 3]
    settings: dict[str, Any]
    split: _Split | None = None


def refuse_odd_privacy(said: Mapping[str, Any], where: str | Path) -> None:
    """Check types and bounds of what a `privacy.json` says.

    Args:
        said: its content.
        where: its path, or what else it is called in the message.

    Raises:
        DataError: one line, with the first entry that cannot be.
    """
    _refuse(_Privacy, said, where, "put back the one that training wrote")


def refuse_odd_config(said: Mapping[str, Any], where: str | Path) -> None:
    """Check types and bounds of what a `config.json` says; arguments and errors as of `refuse_odd_privacy`."""
    _refuse(_Config, said, where, "put back the one that training wrote")
    if said["num_classes"] != len(said["label_names"]):
        raise DataError(f"{where} has {len(said['label_names'])} names of {said['num_classes']} classes; correct it")


def _refuse(fields: type[_Fields], said: Mapping[str, Any], where: str | Path, remedy: str) -> None:
    try:
        fields.model_validate(said)
    except ValidationError as error:
        entry = ".".join(str(one)[:40] for one in error.errors()[0]["loc"]) or "all"
        raise DataError(f"{where} has no value that training writes at {entry!r}; {remedy}") from error
