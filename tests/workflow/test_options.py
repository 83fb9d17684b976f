"""What is wrong with `--config` is one line, and the remedy that it names works."""

from pathlib import Path

import pytest

from dpmix.errors import ParamsError
from dpmix.workflow.options import check, checked
from tests.workflow.test_workflow import REDUCED, new_clone

HOW = "write --config scale=demo, and targets before it or after --"

WRONG = {
    "a key alone": (["scale"], f"--config takes scale=NAME, and 'scale' is not of that form; {HOW}"),
    "a target after it": (
        ["scale=demo", "table2"],
        f"--config takes scale=NAME, and 'table2' is not of that form; {HOW}",
    ),
    "no value": (["scale="], f"--config scale= has no value; {HOW}"),
    "nothing in quotes": (["scale=''"], f"--config scale= has no value; {HOW}"),
    "no key": (["=demo"], f"--config sets scale alone, and '' is no key; {HOW}"),
    "a space": (["scale =demo"], f"--config sets scale alone, and 'scale ' is no key; {HOW}"),
    "a path of keys": (["scales.demo.seeds=1"], f"--config sets scale alone, and 'scales.demo.seeds' is no key; {HOW}"),
    "one letter": (["k=1"], f"--config sets scale alone, and 'k' is no key; {HOW}"),
    "accents": (["éclair=1"], f"--config sets scale alone, and 'éclair' is no key; {HOW}"),
    "twice": (
        ["scale=demo", "scale=paper"],
        "--config gives scale twice, as 'demo' and 'paper'; leave one of them out",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_snakemake_cannot_read_is_refused(kind: str) -> None:
    entries, words = WRONG[kind]
    with pytest.raises(ParamsError) as caught:
        check(entries)
    assert str(caught.value) == words


def test_what_is_right_is_left_to_snakemake() -> None:
    asked: list[object] = []

    def read(entries: object) -> dict[str, object]:
        asked.append(entries)
        return {"read": entries}

    for entries in (None, [], ["scale=demo"], ["scale=demo", "scale=demo"], ["scale=a=b"]):
        assert checked(read)(entries) == {"read": entries}
    assert len(asked) == 5
    with pytest.raises(SystemExit, match=r"^error: --config takes scale=NAME, and 'scale' is not of that form; "):
        checked(read)(["scale"])
    assert len(asked) == 5


def test_a_call_ends_in_that_line(tmp_path: Path, repository: Path) -> None:
    clone = new_clone(tmp_path / "clone", repository, REDUCED)
    for kind in ("a key alone", "a target after it", "a path of keys", "twice"):
        entries, words = WRONG[kind]
        assert clone("--dry-run", "--config", *entries, fails=True) == f"error: {words}\n"
    assert clone("--dry-run", "scale=demo", "table2", fails=True) == (
        "error: 'scale=demo' is no target; write --config scale=demo, and targets before it or after --\n"
    )
    for remedy in (["table2", "--config", "scale=demo"], ["--config", "scale=demo", "--", "table2"]):
        assert "table2.csv" in clone("--dry-run", *remedy)
