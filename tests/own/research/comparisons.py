"""A comparison that takes seconds."""

from typing import Any

import pytest

from dpmix.execution import Execution
from dpmix.own.research.compare import _compared, _requests
from dpmix.own.research.comparison import Comparison


@pytest.fixture
def small(quick: dict[str, Any]) -> dict[str, Any]:
    """Options of a comparison that takes seconds."""
    return {name: value for name, value in quick.items() if not name.startswith("k_")}


def compared(options: dict[str, Any], tune: bool = False, methods: list[str] | None = None) -> Comparison:
    asked = _requests("my-images", None, (1.0, 8.0), methods, options)
    return _compared(asked, (1.0, 8.0), 2, Execution(), tune=tune)
