"""What is declared of a parameter beside its type is found again, at any depth."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from dpmix.errors import DataError
from dpmix.params.declared import Declared, Spec, declared, undetermining


class Net(Spec):
    label: Annotated[str, Declared(determines=False)] = "a net"
    depth: Annotated[int, Field(gt=0), Declared(unit="layers")]
    stride: Annotated[int, Declared(added=True)] = 1


class Deeper(Net):
    depth: Annotated[int, Field(gt=0), Declared(unit="layers")] = 100


class Run(Spec):
    net: Net | None
    seed: int = 0
    threads: Annotated[int, Declared(added=True, determines=False)] = 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", r"is not valid JSON \(.*\)"),
        ("[]", "is damaged"),
        ('{"net": {"depth": 0}}', r"is damaged at net\.depth"),
        ('{"net": null, "sead": 1}', "is damaged at sead"),
    ],
)
def test_a_file_of_one_is_read_or_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "run.json"
    path.write_text('{"net": {"depth": 2}, "seed": 7}', encoding="utf-8")
    assert Run.from_file(path, "make tea") == Run(net=Net(depth=2), seed=7)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"^{path} {words}; make tea$"):
        Run.from_file(path, "make tea")


def test_what_is_said_of_a_field_is_read_and_inherited() -> None:
    assert declared(Net.model_fields["depth"]) == Declared(unit="layers")
    assert declared(Deeper.model_fields["stride"]).added
    assert declared(Run.model_fields["seed"]) == Declared()
    assert Declared().determines


@pytest.mark.parametrize(
    ("value", "without"),
    [
        (Run(net=Net(depth=3)), {"net": {"label": True, "stride": True}, "threads": True}),
        (Run(net=Net(depth=3, stride=2), threads=8), {"net": {"label": True}, "threads": True}),
        (Run(net=None, seed=7), {"threads": True}),
        (Deeper(), {"label": True, "stride": True}),  # a default of a field that was there from the start stays
    ],
)
def test_what_makes_no_other_result_is_found_at_any_depth(value: Spec, without: dict[str, object]) -> None:
    assert undetermining(value) == without
    assert set(value.model_dump(exclude=undetermining(value))) == {
        name for name in type(value).model_fields if without.get(name) is not True
    }
