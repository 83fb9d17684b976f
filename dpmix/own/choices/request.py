"""What a person asks of `train` and `plan`: typed, checked, and kept with an unfinished run."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticKnownError

from dpmix.errors import DataError, ParamsError
from dpmix.files import write_json
from dpmix.own.choices.numbers import is_number
from dpmix.own.choices.recipe import ENCODER
from dpmix.own.images.place import beside, expanded, holder_of, root_of
from dpmix.params.declared import PositiveFloat, PositiveInt, Seed, Spec
from dpmix.params.settings import Epsilon
from dpmix.wording import should_be

Method = Literal["self-aug", "dp-mix-self", "dp-mix-diff"]

Unit = Literal["image", "person"]


_REAL = ("epsilon", "delta", "test_share", "clip_norm", "learning_rate", "evaluate_epsilon")

_WHOLE = ("k_base", "k_self", "k_diff", "batch_size", "epochs", "side", "seed")


class Request(Spec):
    """A training run as it is asked for. None leaves the choice to `dpmix.own.choices.recipe`.

    Attributes:
        images: the folder, zip archive or CSV file, as an absolute path.
        output: the model's folder, as an absolute path.
        epsilon: ε that the run may spend.
        delta: δ.
        unit: who is protected.
        test_share, key, skip_damaged: how the images are listed: as of `dpmix check`.
        method: how views of an image are mixed.
        k_base, k_self, k_diff: how many views of each kind.
        batch_size, epochs, clip_norm, learning_rate: of training.
        encoder, side: which frozen encoder sees images of which side, in pixels; a folder by its absolute path.
        synthetic: a folder of public images to mix in, as an absolute path.
        research: with a seed, so that everything may be looked at and nothing is released.
        seed: of a research run.
        evaluate_epsilon: ε of a released test accuracy; None releases none.
        ledger: the record of what was spent, if it is not beside the images.
    """

    images: Path
    output: Path
    epsilon: Annotated[Epsilon, Field(le=100)]
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    unit: Unit = "image"
    test_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    key: str | None = None
    skip_damaged: Annotated[bool, Field(strict=True)] = False
    method: Method | None = None
    k_base: PositiveInt | None = None
    k_self: Annotated[int, Field(ge=0)] | None = None
    k_diff: Annotated[int, Field(ge=0)] | None = None
    batch_size: PositiveInt | None = None
    epochs: PositiveInt | None = None
    clip_norm: PositiveFloat | None = None
    learning_rate: PositiveFloat | None = None
    encoder: str | None = None
    side: Annotated[int, Field(gt=0, le=4096)] | None = None
    synthetic: Path | None = None
    research: Annotated[bool, Field(strict=True)] = False
    seed: Seed | None = None
    evaluate_epsilon: Annotated[Epsilon, Field(le=10)] | None = None
    ledger: Path | None = None

    @field_validator(*_REAL, *_WHOLE, mode="before")
    @classmethod
    def _is_a_number(cls, value: object, info: ValidationInfo) -> object:
        if not is_number(value):
            raise PydanticKnownError("int_type" if info.field_name in _WHOLE else "float_type")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        mixes_in = self.method == "dp-mix-diff" or bool(self.k_diff)
        if mixes_in and self.synthetic is None:
            raise ValueError("method dp-mix-diff mixes in public images; name a folder of them: `synthetic='FOLDER'`")
        if self.seed is not None and not self.research:
            raise ValueError("whoever has the seed can subtract the noise; leave out `seed`, or add `research=True`")
        if self.research and self.evaluate_epsilon is not None:
            raise ValueError("`research` shows every accuracy as it is; leave out `evaluate_epsilon`")
        return self

    @property
    def work(self) -> Path:
        """The folder of the unfinished run, beside the model's folder."""
        return self.output.with_name(self.output.name + ".work")


def request(images: str | Path, output: str | Path | None, **options: Any) -> Request:
    """The request for these images; None among the options leaves a choice open.

    Args:
        images: the folder, zip archive or CSV file.
        output: the model's folder; by default `<images>-model` beside the images' folder or archive, or
            `<images>-research` of research.
        options: further attributes of `Request`.

    Raises:
        DataError: if there are no such images.
        ParamsError: for a value that cannot be, in one line.
    """
    place = expanded(images)
    if not place.exists():
        raise DataError(f"{images} does not exist; name the folder, zip archive or CSV file of the private images")
    place = place.resolve()
    output = expanded(output).absolute() if output is not None else default_out(place, bool(options.get("research")))
    if output.is_relative_to(holder_of(place)):
        raise ParamsError(f"the model's folder {output} would lie among the images; name another: `output='FOLDER'`")
    given = {name: value for name, value in options.items() if value is not None}
    for name in ("synthetic", "ledger"):
        if name in given:
            given[name] = expanded(given[name]).absolute()
    if "encoder" in given and (folder := encoder_place(given["encoder"])) is not None:
        given["encoder"] = str(folder)
    if "epsilon" not in given:
        raise ParamsError("how much ε the model may spend is not given; say it: `epsilon=4`")
    return parsed({"images": place, "output": output, **given})


def encoder_place(encoder: object) -> Path | None:
    """The folder that `encoder` names, as an absolute path; None if it is the name of a public one.

    A request has it by this path, since a run has another working directory, and is told of by its last name alone.
    """
    if not isinstance(encoder, str | Path) or encoder == ENCODER:
        return None
    place = expanded(encoder)
    return place.absolute() if place.is_absolute() or place.is_dir() else None


def default_out(images: Path, research: bool = False) -> Path:
    """Where a model of these images goes if nothing else is said: beside their folder or archive."""
    return beside(root_of(images), "-research" if research else "-model")


def parsed(values: dict[str, Any]) -> Request:
    """The request with these values.

    Raises:
        ParamsError: in one line, for what a person can mend.
    """
    try:
        return Request.model_validate(values)
    except ValidationError as error:
        first, *_ = error.errors()
        if not first["loc"]:
            raise ParamsError(str(first["msg"]).removeprefix("Value error, ")) from error
        option = str(first["loc"][0])
        same = [one for one in error.errors() if one["loc"] == first["loc"]]
        given = first["input"]
        written = f"{option}={given}" if isinstance(given, str) and _NUMBER.fullmatch(given) else option
        raise ParamsError(f"{option.replace('_', ' ')} {should_be(same)}; correct it: `{written}`") from error


_NUMBER = re.compile(r"\d+(\.\d+)?(e-?\d+)?")


def flag(name: str) -> str:
    """An attribute's name as the command line has it.

    >>> flag("batch_size")
    'batch-size'
    """
    return name.replace("_", "-")


def keep(asked: Request, path: Path) -> None:
    """Write a request, for `kept`."""
    write_json(path, asked.model_dump(mode="json", exclude_none=True))


def kept(path: Path) -> Request:
    """The request that `keep` wrote.

    Raises:
        DataError: if it is missing or damaged.
    """
    return Request.from_file(path, f"delete {path.parent} and train afresh")


def refuse_another(asked: dict[str, Any], before: Request) -> None:
    """Check that what is given to `resume` is what the unfinished run was begun with.

    Args:
        asked: the values that are given; None stands for one that is not.
        before: the request of the unfinished run.

    Raises:
        ParamsError: for the first one that differs.
    """
    for name, value in asked.items():
        was = getattr(before, name)
        if value is None or value is False or (name == "unit" and value == "image"):
            continue
        if isinstance(was, Path):
            value = expanded(value).absolute()
        if name == "encoder" and (folder := encoder_place(value)) is not None:
            value = str(folder)
        if value != was:
            said = "is not given" if was is None or was is False else f"is {was}"
            raise ParamsError(
                f"the unfinished run's {name.replace('_', ' ')} {said}, not {value}; resume it without `{name}`, or "
                f"delete {before.work} and train afresh"
            )
