from pathlib import Path
from typing import Any

import pytest
import yaml

from dpmix.errors import ParamsError
from dpmix.params.read import parse
from dpmix.params.registries import CLIPPING_MODES, DATA_SETS, TABLE_KINDS, registered

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"


@pytest.fixture
def raw() -> dict[str, Any]:
    params: dict[str, Any] = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    return params


def refusal(raw: dict[str, Any], *place: str, value: Any) -> str:
    """The line that refuses params with `value` at a place."""
    here: Any = raw
    for key in place[:-1]:
        here = here[key]
    here[place[-1]] = value
    with pytest.raises(ParamsError) as caught:
        parse(raw)
    return str(caught.value)


@pytest.mark.parametrize("registry", [DATA_SETS, CLIPPING_MODES, TABLE_KINDS])
def test_every_name_leads_to_code_of_its_own(registry: dict[str, str]) -> None:
    found = [registered(registry, name) for name in registry]
    assert len({id(one) for one in found}) == len(registry) > 0


@pytest.mark.parametrize(
    ("place", "wrong", "words"),
    [
        (("scales", "demo", "finetune", "clipping"), "per-lyaer", "not 'per-lyaer'; did you mean 'per-layer'?"),
        (("datasets", "cifar-10", "source"), "torchvison", "not 'torchvison'; did you mean 'torchvision'?"),
        (("models", "tiny-vit", "kind"), "encodre", "unknown kind 'encodre'; did you mean 'encoder'?"),
        (("models", "wrn-16-4", "kind"), "wide-resent", "unknown kind 'wide-resent'; did you mean 'wide-resnet'?"),
        (("scales", "demo", "tables", "9", "kind"), "acuracy", "unknown kind 'acuracy'; did you mean 'accuracy'?"),
    ],
)
def test_a_typo_is_answered_with_the_nearest_name(
    raw: dict[str, Any], place: tuple[str, ...], wrong: str, words: str
) -> None:
    raw["scales"]["demo"]["tables"] = {str(name): one for name, one in raw["scales"]["demo"]["tables"].items()}
    assert refusal(raw, *place, value=wrong).endswith(words)


def test_a_published_data_set_is_found_by_its_name(raw: dict[str, Any]) -> None:
    line = refusal(raw, "datasets", "cifar10", value=dict(raw["datasets"]["cifar-10"]))
    assert line.endswith("no published data set is called 'cifar10'; did you mean 'cifar-10'?")
