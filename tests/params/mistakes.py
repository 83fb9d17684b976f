"""What params with a mistake are answered with."""

from typing import Any

import pytest

from dpmix.catalogue.catalogue import Catalogue
from dpmix.errors import ParamsError
from dpmix.params.read import parse

Raw = dict[str, Any]


def put(raw: Raw, place: str, value: Any) -> Raw:
    """Set what stands at a place such as `scales/demo/seeds/0`; a new key is added."""
    here: Any = raw
    *path, last = (int(part) if part.isdigit() and len(part) == 1 else part for part in place.split("/"))
    for part in path:
        # Tables are numbered by text, list entries by position.
        here = here[str(part) if isinstance(here, dict) else part]
    here[str(last) if isinstance(here, dict) else last] = value
    return raw


def message(raw: Any) -> str:
    """The one line that refuses these parameters, by name or when their experiments are resolved."""

    def resolve() -> None:
        params = parse(raw)
        for scale in params.scales:
            Catalogue(params, scale)

    with pytest.raises(ParamsError) as caught:
        resolve()
    (line,) = str(caught.value).splitlines()
    assert line.startswith("params.yaml: ")
    assert "Value error" not in line
    assert "Input" not in line
    return line
