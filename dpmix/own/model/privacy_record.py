"""`privacy.json`: what somebody who is handed a model needs to know of its privacy, for programs and for its card.

It answers what "How to DP-fy ML" (Ponomareva et al., 2023, section 5.3.3) asks to be reported (setting, definition,
accounting, code) and, beyond ε and its unit, what NIST SP 800-226 asks about: the algorithm's correctness, side
channels, and the data that went in otherwise. All that depends on the executed steps is computed from the statement in
`model.safetensors` and can be computed again by anyone (`dpmix.own.model.privacy_check`). What only the trainer can
know are `Facts`.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from dpmix.errors import ParamsError, PrivacyError, suggestion
from dpmix.own.model.privacy_fields import Audit, Evaluation, Together
from dpmix.own.model.source import file_digest, lock_digest, source_digest
from dpmix.params.declared import Spec
from dpmix.privacy.accountants import MAX_EPSILON
from dpmix.privacy.accounting import rounded_up
from dpmix.privacy.gaussian_dp import gaussian_mu
from dpmix.privacy.group_privacy import group_epsilon
from dpmix.privacy.ledger import as_rows
from dpmix.release.statement import Statement, read_statement

FORMAT = 1
PERSONS_IMAGES = (2, 5, 10)
_DIGITS = 4  # of every ε and μ, which are rounded up
_RESULTS = ("evaluation", "audit", "together")
_RULE = "none: it follows from public numbers by a rule, and no training image was looked at for it"
_GIVEN = (
    "given by the user, and this program did not choose it. Where it came from is the user's statement; a rate chosen "
    "by results on the private images is not covered by epsilon"
)


class Facts(Spec):
    """What only the trainer knows; every entry may be left out.

    Attributes:
        learning_rate: `rule` if it follows from public numbers, `given` if the user gave it.
        population_public: why N may be known to everybody.
        public_data: further public data that were used, in words.
        base_model: the encoder's name on the Hugging Face hub, `owner/name`.
        evaluation: a result on test images that may be known.
        audit: what an audit of this configuration found.
        together: ε of this and all earlier models of the same images, and what it leaves out.
        command: the command that trained it.
    """

    learning_rate: Literal["rule", "given"] = "given"
    population_public: str = "it is published here, by the choice of whoever publishes the model"
    public_data: tuple[str, ...] = ()
    base_model: str | None = None
    evaluation: Evaluation | None = None
    audit: Audit | None = None
    together: Together | None = None
    command: str | None = None


def facts_of(values: Mapping[str, Any]) -> Facts:
    """These values as `Facts`.

    Raises:
        ParamsError: for a key that there is not, or a value of another type.
    """
    from pydantic import ValidationError

    try:
        return Facts.model_validate(dict(values))
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        raise ParamsError(
            f"facts for privacy.json: {where}: {wrong['msg']}; {suggestion(where, Facts.model_fields)}"
        ) from error


def record(model: Path, run: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """What `privacy.json` says of a released model.

    Args:
        model: its `model.safetensors`.
        run: the run's `metrics.json`.
        facts: what only the trainer knows.

    Raises:
        DataError: if the file is no whole released model.
        ParamsError: for facts that are none.
        PrivacyError: if the run's record is of other steps than the model's file, its ε is no promise, or its noise is
            banded: then neither noise nor samples of its steps are independent, as all that is written here says.
    """
    known = facts_of(facts)
    statement = read_statement(model)
    experiment, versions = run["experiment"], run["versions"]
    if experiment.get("bands", 1) > 1:
        raise PrivacyError(
            f"{model} was trained with banded noise, which a model's folder cannot describe; hand out the file itself, "
            "which says its epsilon: dpmix statement FILE"
        )
    alike = _steps_are_alike(experiment)
    computed = from_file(model, statement, alike)
    executed = sum(row.steps for row in statement.mechanism)
    if run["steps"]["executed"] != executed or run["delta"] != statement.delta:
        raise PrivacyError(f"{model} is of {executed} steps and its run's record of others; train it again")
    unit = statement.unit
    return {
        "format": FORMAT,
        **computed,
        "setting": "central: one trusted party holds the images and trains",
        "definition": {
            **computed["definition"],
            "adjacency": adjacency(unit),
            "covers": "one training run, from the first step to the last",
            "released": f"{_weights(experiment)}; epsilon would cover those after each step too",
        },
        "population": {
            **computed["population"],
            "public_because": known.population_public,
        },
        "mechanism": {
            **computed["mechanism"],
            "name": "DP-SGD: Poisson-sampled, per-unit clipping, Gaussian noise",
            "bound_of_one_image": not alike,
            "clip_norm": experiment["clip_norm"],
            "expected_batch": experiment["batch_size"],
            "steps": {"planned": run["steps"]["planned"], "executed": executed},
            "sampling": {
                "assumed": "Poisson, independently at each step",
                "executed": "the same, tested as it was drawn",
            },
            "noise": {"assumed": "Gaussian, independent", "executed": "the same, tested as it was added"},
        },
        "randomness": {
            "sample_and_noise": "the operating system's cryptographic generator; seeds are written nowhere",
            "initial_weights_and_views": f"seed {experiment['seed']}, public",
        },
        "tuning": {
            "learning_rate": run["learning_rate"],
            "private_choice": _RULE if known.learning_rate == "rule" else _GIVEN,
        },
        "public_data": _public(experiment, known),
        "base_model": known.base_model,
        **{name: getattr(known, name) and getattr(known, name).model_dump() for name in _RESULTS},
        "not_covered": [
            "who was sampled and how long a step took can be seen by whoever watches the machine while it trains",
            f"names of classes, N, the number of test {unit}s and settings are taken as public",
            "what the public encoder saw when it was trained",
        ],
        "code": {**versions, "source_sha256": source_digest(), "lock_sha256": lock_digest()},
        "command": known.command,
    }


def from_file(model: Path, statement: Statement, alike: bool = True) -> dict[str, Any]:
    """The part of `privacy.json` that `model.safetensors` alone decides.

    Args:
        model: the file.
        statement: the one in it.
        alike: whether the mechanism's steps are what was executed, and not a bound of it for one image, so that ε of
            several images of a person can be computed from them.

    Raises:
        PrivacyError: if ε is beyond what a promise can be made of.
    """
    steps = list(statement.mechanism)
    spent = statement.computed_again()
    finite = {name: value for name, value in sorted(spent.items()) if value < math.inf}
    if not finite or min(finite.values()) > MAX_EPSILON:
        raise PrivacyError(f"{model} has spent more than epsilon {MAX_EPSILON:g}, which promises nothing; add noise")
    guarantee: dict[str, Any] = {
        "delta": statement.delta,
        "epsilon": {name: _up(value) for name, value in finite.items()},
        "gdp_mu": _up(gaussian_mu(steps, delta=statement.delta)),
    }
    if statement.unit == "image":
        guarantee["persons"] = [
            {
                "images": images,
                "epsilon": _up_or_none(group_epsilon(steps, images, delta=statement.delta)) if alike else None,
            }
            for images in PERSONS_IMAGES
        ]
    return {
        "model": {"file": model.name, "sha256": file_digest(model)},
        "definition": {"unit": statement.unit},
        "guarantee": guarantee,
        "population": {"name": statement.dataset, "units": statement.population},
        "mechanism": {"executed": as_rows(steps)},
    }


def adjacency(unit: str) -> str:
    """What neighbouring data sets differ in."""
    whose = " with all their images" if unit == "person" else ""
    return (
        f"add or remove one {unit}{whose}, where N stays as published and the place of who is absent stands for nobody"
    )


def _weights(experiment: Mapping[str, Any]) -> str:
    decay = experiment.get("ema_decay", 0.0)
    averaged = f"the moving average of the weights over all steps, of decay {decay:g}"
    return averaged if decay else "the weights after the last step"


def _steps_are_alike(experiment: Mapping[str, Any]) -> bool:
    """Whether every executed step was a Poisson-subsampled Gaussian one, for which several images can be accounted."""
    plain = {"update": "sgd", "microbatch_size": 1}
    return all(experiment.get(name, value) == value for name, value in plain.items())


def _public(experiment: Mapping[str, Any], known: Facts) -> list[str]:
    """The public data that a run used, in words."""
    model, synthetic = experiment["model"], experiment.get("synthetic")
    used = []
    if model["kind"] == "encoder":
        used.append(f"the frozen encoder {model['architecture']}, weights {model['weights']}")
        if model["standardize"] == "encoder":
            used.append("photographs that come with this program, by which features are centred and scaled")
    if synthetic:
        drawn_by = synthetic["diffusion"].get("model")
        by = f"synthetic images by {drawn_by}" if drawn_by else "public images that were given"
        used.append(f"{synthetic['size']} {by}")
    return used + list(known.public_data)


def _up(value: float) -> float:
    return float(rounded_up(value, _DIGITS))


def _up_or_none(value: float) -> float | None:
    return _up(value) if value < math.inf else None
