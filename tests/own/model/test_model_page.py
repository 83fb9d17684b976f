"""`docs/own-images/model.md` names all that a model's folder holds, and nothing else."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dpmix.own.model.privacy_fields import Audit, Evaluation, Together
from tests.own.folders import Written
from tests.own.model.test_privacy_record import AUDIT

pytestmark = pytest.mark.filterwarnings("ignore")

FACTS = {
    "learning_rate": "rule",
    "evaluation": {"accuracy": 50.0, "images": 8, "epsilon": 0.1},
    "audit": AUDIT,
    "together": {
        "epsilon": 9.0,
        "delta": 1e-5,
        "models": 2,
        "test_epsilon": 0.1,
        "other_unit": 0,
        "research": 0,
    },
}


def fields(value: Mapping[str, Any]) -> Iterator[str]:
    """The names in a record at any depth, but for those of accountants, each with the top entry that it is in."""
    for name, entry in value.items():
        yield name
        for inner in inside(entry):
            yield f"{name}: {inner}"


def inside(value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        for name, entry in one.items() if isinstance(one, Mapping) else ():
            yield name
            yield from inside(entry)


def test_the_page_has_every_field_of_the_privacy_record(written: Written, repository: Path) -> None:
    said = written(privacy=FACTS).privacy
    assert {*said["evaluation"]} == {*Evaluation.model_fields}
    assert {*said["audit"]} == {*Audit.model_fields}
    assert {*said["together"]} == {*Together.model_fields}
    section = (repository / "docs/own-images/model.md").read_text(encoding="utf-8")
    section = section.partition("## What `privacy.json` says")[2].partition("\n## ")[0]
    rows = [re.split(r" *\| *", line)[1:-1] for line in section.splitlines() if line.startswith("|")][2:]
    found, entry = set(), ""
    for first, names, meaning in rows:
        entry = first.strip("`") or entry
        found |= {entry, *(f"{entry}: {name}" for name in re.findall(r"`([\w-]+)`", names))}
        # Of an entry with a depth of its own the meaning names what is in it.
        if entry in ("guarantee", "mechanism"):
            found |= {f"{entry}: {name}" for name in re.findall(r"`(\w+)`", meaning)}
    assert found == set(fields(said))


def test_the_page_has_every_file_of_the_folder(written: Written, repository: Path) -> None:
    text = (repository / "docs/own-images/model.md").read_text(encoding="utf-8").partition("## Use it")[0]
    named = re.findall(r"^\| `([\w./]+)` \|", text, flags=re.MULTILINE)
    assert {name.rstrip("/") for name in named} == {path.name for path in written().path.iterdir()}
