"""The project's own parameters, to be broken."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

Raw = dict[str, Any]


@pytest.fixture(scope="module")
def original(repository: Path) -> Raw:
    return yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def raw(original: Raw) -> Raw:
    """The project's own parameters, to be broken."""
    return copy.deepcopy(original)
