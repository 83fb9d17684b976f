"""An option that several verbs have is one: declared once, and with one meaning."""

import inspect

import pytest

from dpmix.cli import options
from dpmix.cli.audit import audit
from dpmix.cli.compare import compare
from dpmix.cli.plan import plan
from dpmix.cli.train import train

DECLARED = [value for name, value in vars(options).items() if name[0].isupper() and name not in ("Annotated", "Path")]


@pytest.mark.parametrize("verb", [plan, compare, audit])
def test_what_a_verb_shares_with_train_is_declared_once(verb: object) -> None:
    ours, its = (inspect.signature(one).parameters for one in (train, verb))  # type: ignore[arg-type]
    own = {"images", "output", "place"} | ({"epsilon"} if verb is compare else set())
    shared = [name for name in ours if name in its and name not in own]
    assert len(shared) >= 9
    for name in shared:
        assert its[name].annotation is ours[name].annotation
        assert any(its[name].annotation is one for one in DECLARED)
        assert its[name].default == ours[name].default
