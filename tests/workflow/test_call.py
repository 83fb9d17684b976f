"""Rules that are defined once it is known what a call asks for."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# What a program says that plans a table by Snakemake's Python interface.
PROGRAM = """\
from pathlib import Path
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings
with SnakemakeApi(OutputSettings()) as api:
    file = Path("workflow/Snakefile")
    flow = api.workflow(ResourceSettings(cores=1), config_settings=ConfigSettings(), snakefile=file)
    flow.dag(DAGSettings(targets={"table12"})).execute_workflow(executor="dryrun")
"""


@pytest.fixture
def clone(tmp_path: Path, repository: Path) -> Path:
    shutil.copytree(repository / "workflow", tmp_path / "workflow")
    for name in ("params.yaml", "environment.yml"):
        shutil.copy(repository / name, tmp_path)
    return tmp_path


def output(folder: Path, *arguments: str) -> tuple[int, str]:
    run = subprocess.run(
        [sys.executable, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return run.returncode, run.stdout


def test_a_program_asks_for_one_table_as_the_command_line_does(clone: Path) -> None:
    tables = []
    for call in (["-c", PROGRAM], ["-m", "snakemake", "--cores", "1", "--dry-run", "table12"]):
        code, said = output(clone, *call)
        assert code == 0, said
        tables.append(re.search(r"^Job stats:\n.*?^total .*?$", said, flags=re.MULTILINE | re.DOTALL)[0])  # type: ignore[index]
    assert tables[0] == tables[1]
    assert tables[0].count("run-tiny-vit-") == 3


def test_the_rules_that_a_call_defines_are_looked_over_with_the_others(clone: Path) -> None:
    rules = clone / "workflow" / "rules" / "attacks.smk"
    text = rules.read_text(encoding="utf-8")
    without = re.sub(r"        log:\n.*\n", "", text).replace(" 2> >(tee {log} >&2)", "")
    assert without != text
    rules.write_text(without, encoding="utf-8")
    code, said = output(clone, "-m", "snakemake", "--lint")
    assert code != 0
    assert "No log directive defined" in said
