"""A setting is declared once: params, experiments, plans, views and hashes say the same of it."""

import math
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

import pytest
from pydantic import ValidationError

from dpmix.artefacts.plan_file import PlanFile
from dpmix.params.declared import declared
from dpmix.params.settings import OF_VIEWS, MethodSpec, NamedSettings, PlanSettings, RunSettings, Settings, values_of
from dpmix.views.settings import ViewSettings
from tests.artefacts.test_experiment import NETWORK, experiment

PLAIN = {"k_self": 0, "k_diff": 0}

# Runs in which a setting makes no difference, as its declaration says: what else they have, and two values of it.
WITHOUT_EFFECT: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "delta": ({"epsilon": math.inf}, 1e-5, 1e-6),
    "accountant": ({"epsilon": math.inf}, "rdp", "pld"),
    "clipping": ({}, "flat", "per-layer"),
    "mix_width": ({}, 0.15, 0.3),
    "truncation": ({}, 100.0, 50.0),
    "mixup_alpha": (PLAIN, 0.2, 0.9),
    "mixup_pairs": ({"k_self": 0}, "distinct", "independent"),
    "mixing": (PLAIN, "mixup", "cutmix"),
    "transforms": ({"k_base": 0, "augment_synthetic": False}, ("crop",), ("flip",)),
    "padding": ({"transforms": ("flip",)}, 0, 3),
    "augment_synthetic": (PLAIN, True, False),
    "view_sets": ({**PLAIN, "k_base": 1, "transforms": ()}, 0, 3),
    "mix_with": ({"k_diff": 0, "subset": "S1"}, "synthetic", "S2"),
}


def test_each_setting_of_which_it_is_said_can_be_without_effect() -> None:
    assert set(WITHOUT_EFFECT) == {name for name, field in RunSettings.model_fields.items() if declared(field).unless}


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_a_setting_without_effect_makes_no_other_run(name: str) -> None:
    others, *values = WITHOUT_EFFECT[name]
    one, other = (experiment(**{**others, name: value}) for value in values)
    assert getattr(one, name) != getattr(other, name)
    assert one.path("demo") == other.path("demo")


def test_a_setting_that_was_added_leaves_hashes_as_they_were_until_it_is_used() -> None:
    added = {name for name, field in RunSettings.model_fields.items() if declared(field).added}
    assert {"bands", "release"} <= added
    run = experiment(model=NETWORK)
    assert not added & run.key().keys()
    assert not added & run.plan().key().keys()
    for name, value in {"bands": 2, "clipping": "auto-s", "precision": "float16", "mixing": "cutmix"}.items():
        assert experiment(model=NETWORK, **{name: value}).key()[name] == value
    assert experiment(bands=2).plan().key()["bands"] == 2
    assert experiment(batches="fixed-order").plan().key()["batches"] == "fixed-order"


def test_settings_are_silent_until_they_are_given() -> None:
    assert set(Settings.model_fields) == {*NamedSettings.model_fields, *RunSettings.model_fields}
    assert set(MethodSpec.model_fields) == {*Settings.model_fields, "label"}
    assert set(Settings().model_dump().values()) == {None}
    assert Settings(epochs=3, transforms=[]).model_dump(exclude_none=True) == {"epochs": 3, "transforms": ()}


@pytest.mark.parametrize("name", RunSettings.model_fields)
def test_a_setting_may_be_in_params_what_it_may_be_in_a_run(name: str) -> None:
    """By the JSON schema, which has types, bounds and choices."""

    def allowed(of: type[RunSettings] | type[Settings]) -> list[dict[str, Any]]:
        found = dict(of.model_json_schema()["properties"][name])
        about = {key: found.pop(key, None) for key in ("title", "description", "default")}
        assert about["description"]
        return [one for one in found.get("anyOf", [found]) if one != {"type": "null"}]

    assert allowed(Settings) == allowed(RunSettings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epsilon", 0),
        ("delta", 1),
        ("clip_norm", -1),
        ("bands", 0),
        ("ema_decay", 1),
        ("mixup_alpha", 1.5),
        ("k_base", -1),
    ],
)
def test_what_is_out_of_bounds_is_refused_in_params_and_in_runs(name: str, value: Any) -> None:
    for made in (lambda: Settings(**{name: value}), lambda: experiment(**{name: value})):
        with pytest.raises(ValidationError) as caught:
            made()
        (error,) = caught.value.errors()
        assert error["loc"] == (name,)
        assert error["msg"].startswith("Input should be ")


def test_a_plan_has_the_plans_settings_of_a_run() -> None:
    run = experiment(epsilon=math.inf, bands=2)
    assert values_of(PlanSettings, run) == {name: getattr(run, name) for name in PlanSettings.model_fields}
    assert set(PlanFile.model_fields) == {"semantics", "population", *PlanSettings.model_fields}


@pytest.mark.parametrize("field", fields(ViewSettings), ids=lambda field: field.name)
def test_views_have_the_choices_and_defaults_of_the_settings_that_make_them(field: Any) -> None:
    (name,) = (name for name, view in OF_VIEWS.items() if view == field.name)
    of_run = RunSettings.model_fields[name]
    assert of_run.annotation == get_type_hints(ViewSettings)[field.name]
    if field.default is MISSING:
        assert of_run.is_required()
    else:
        assert of_run.default == field.default


def test_what_is_nominal_is_said_to_be() -> None:
    values = {"epsilon": 8, "delta": 1e-5, "accountant": "rdp", "clip_norm": 1, "batch_size": 10, "epochs": 1}
    said = [PlanSettings(**values, batches=batches).epsilon_text for batches in ("poisson", "fixed-order")]
    assert said == ["ε=8", "nominal ε=8"]
