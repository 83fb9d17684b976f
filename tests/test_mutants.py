"""The table of faults fits the code that it is to break: run by `make mutants`, held up to date here."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from tests.mutants.faults import Mutant, read

MUTANTS = read()


def test_there_are_enough() -> None:
    assert len(MUTANTS) >= 60
    assert len({(one.file, one.old, one.new) for one in MUTANTS}) == len(MUTANTS)
    areas = {Path(one.file).parts[1] for one in MUTANTS if one.file.startswith("dpmix/")}
    assert {"privacy", "training"} <= areas


@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{Path(one.file).name}-{n}" for n, one in enumerate(MUTANTS)])
def test_each_fault_can_be_planted(mutant: Mutant, repository: Path) -> None:
    text = (repository / mutant.file).read_text(encoding="utf-8")
    broken = mutant.applied(text)
    assert broken != text
    assert mutant.why.strip()
    if mutant.file.endswith(".py"):
        assert ast.dump(ast.parse(broken)) != ast.dump(ast.parse(text)), "a fault must change the code"
    elif mutant.file.endswith((".yaml", ".yml")):
        yaml.safe_load(broken)
    paths = [word.partition("::")[0] for word in mutant.tests.split() if not word.startswith("-")]
    assert paths
    assert all((repository / path).exists() for path in paths)


def test_the_score_is_of_this_table(repository: Path) -> None:
    text = (repository / "docs/reliability.md").read_text(encoding="utf-8")
    score = re.search(r"<!-- faults -->\n\*\*(\d+) of (\d+) were found", text)
    assert score, "run make mutants"
    found, planted = map(int, score.groups())
    assert planted == len(MUTANTS), "run make mutants again"
    assert found >= 0.9 * planted
