"""The schema of the params is fresh, and says what the models say."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from dpmix.params import schema


@pytest.fixture(scope="module")
def params(repository: Path) -> dict:
    return yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))


def test_the_file_is_what_the_models_say(repository: Path) -> None:
    assert (repository / schema.SCHEMA).read_text(encoding="utf-8") == schema.text(), (
        "run `python -m dpmix.params.schema`"
    )


def test_it_is_a_schema_and_closed_at_every_level() -> None:
    derived = schema.schema()
    jsonschema.Draft202012Validator.check_schema(derived)
    objects = [derived, *derived["$defs"].values()]
    assert sum("properties" in one for one in objects) > 10
    assert all(one["additionalProperties"] is False for one in objects if "properties" in one)


def test_the_projects_own_parameters_fit(params: dict) -> None:
    jsonschema.validate(params, schema.schema())


def test_a_typo_does_not_fit(params: dict) -> None:
    params["methods"]["self-aug"]["kself"] = 1
    with pytest.raises(jsonschema.ValidationError, match="kself"):
        jsonschema.validate(params, schema.schema())
