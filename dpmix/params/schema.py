"""The JSON schema of `params.yaml`, derived from the classes of `dpmix.params`, for editors."""

from pathlib import Path
from typing import Any

from dpmix.files import write_text
from dpmix.params.scales import Params

SCHEMA = Path("workflow/schemas/params.schema.yaml")


def schema() -> dict[str, Any]:
    """The schema as a mapping. Names of entries are not required, because an entry's key is its name."""
    derived = Params.model_json_schema()
    for definition in derived["$defs"].values():
        if "name" in definition.get("required", []):
            definition["required"].remove("name")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **derived}


def text() -> str:
    """The schema as YAML."""
    import yaml

    head = "# Derived from dpmix/params/scales.py by `python -m dpmix.params.schema`; a test keeps the two equal.\n"
    return head + yaml.safe_dump(schema(), sort_keys=False, allow_unicode=True, width=120)


if __name__ == "__main__":
    write_text(SCHEMA, text())
