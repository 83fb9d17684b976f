"""Errors name what is wrong, the file, and what to write instead, in one line."""

import ast
import re
from pathlib import Path

import pytest

from dpmix.errors import DataError, ParamsError, known, naming, one_line, suggestion


def test_the_closest_name_is_suggested_or_all_are_listed() -> None:
    assert known("a", {"a": 1}, "letter") == "a"
    assert suggestion("digit", ["digits", "sun397"]) == "did you mean 'digits'?"
    assert suggestion("zzz", ["digits", "sun397"]) == "there are digits, sun397"
    assert suggestion("Gru\u0308n", ["Grün"]) == "its accents are letters of their own; write it composed: Grün"
    assert suggestion("zzz", []) == "there are none"
    assert suggestion("c\u0430t", ["cat"]) == "did you mean 'cat'? ('\u0430' is CYRILLIC SMALL LETTER A)"


def test_a_name_that_is_not_known_is_one_line() -> None:
    with pytest.raises(ParamsError) as caught:
        known("digit", ["digits"], "dataset", "table 9")
    assert str(caught.value) == "params.yaml: unknown dataset 'digit' in table 9; did you mean 'digits'?"


def test_an_error_names_the_file_that_was_read_and_no_other() -> None:
    with pytest.raises(DataError) as caught, naming("mine/my.yaml"):
        raise DataError("params.yaml: see my/params.yaml and params.yaml")
    assert str(caught.value) == "mine/my.yaml: see my/params.yaml and mine/my.yaml"


def test_an_error_without_words_is_named_by_its_class() -> None:
    assert one_line(ValueError("two\n  lines")) == "two lines"
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert one_line(ValueError("a\n" + 300 * "b"), 4) == "a bb"


# Remedies -------------------------------------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parents[1]
OURS = ("DpmixError", "ParamsError", "DataError", "PrivacyError")
# Where a ValueError is of a user's value: what reads the params turns it into a ParamsError with the same words.
VALUES = ("params", "artefacts", "views/settings.py")
# Messages whose end another function says, by file and a part of the source.
ENDED_ELSEWHERE = [
    ("privacy/ledger.py", "which are not planned"),  # of a file that a caller names, with what to do about it
    ("privacy/ledger.py", "and its ledger has"),
    ("privacy/ledger.py", "mixed released states otherwise"),
    ("artefacts/experiment.py", "{why}"),  # what `unfit` says; tests/artefacts/test_fitting.py
    ("tables/kinds/privacy.py", "where)}: {error}"),  # of the accountants
    ("catalogue/cells.py", "{where}: {what}"),  # a message of the params, which has a remedy
    ("data/listing.py", "{lost[0].why}{remedy}"),  # what a tree says of a file, with what to do about it
    ("own/images/fit.py", "{reasons[0]}"),  # what `unfit` says, each with what to do
    ("own/training/following.py", "that were begun"),  # of a checkpoint, which the loop says to delete
    ("own/choices/request.py", "Value error"),  # of what the experiment or the request refuses
    ("own/choices/setup.py", "_reason(error)"),
]
# A message has a remedy if it goes on behind a semicolon, says what a value should be, or ends in what another function
# says, which is held to this where it is written.
HAS_REMEDY = re.compile(r"; ?(or )?[a-z0-9{\'\"]|should be |suggestion\(|_DISCARD\b|_complaint\(|explained\(")


def remediless(source: str, values: bool = False) -> list[str]:
    """The messages in a file's errors that do not go on to say what to do, as source text."""
    kinds = (*OURS, "ValueError") if values else OURS
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            message = ast.unparse(node.exc.args[0]) if node.exc.args else ""
            if node.exc.func.id in kinds and not HAS_REMEDY.search(message):
                found.append(message)
    return found


@pytest.mark.parametrize(
    ("raised", "found"),
    [
        ("raise ParamsError('steps 0 is too few')", True),
        ("raise ParamsError(f'steps {steps} is too few')", True),
        ("raise DataError()", True),
        ("raise ValueError('steps 0 is too few')", True),
        ("raise PrivacyError(f'steps {steps} is too few; take more')", False),
        ("raise ParamsError(f'no step {name!r}; {suggestion(name, names)}')", False),
        ("raise DataError('the file is torn' + _DISCARD)", False),
    ],
)
def test_one_without_a_remedy_would_be_found(raised: str, found: bool) -> None:
    assert bool(remediless(f"def check():\n    {raised}", values=True)) == found


def test_every_error_says_what_to_do() -> None:
    silent, seen = [], 0
    for path in sorted((ROOT / "dpmix").rglob("*.py")):
        source, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT / "dpmix").as_posix()
        seen += source.count("raise ")
        silent += [(name, message) for message in remediless(source, values=name.startswith(VALUES))]
    assert seen > 250
    left = [one for one in silent if not any(one[0] == file and part in one[1] for file, part in ENDED_ELSEWHERE)]
    assert left == []
    assert len(silent) == len(ENDED_ELSEWHERE)
