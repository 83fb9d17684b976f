"""Which jobs the paper's scale has is said in seconds of the processor, whatever runs beside."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processor_time import of_children
from tests.workflow.test_workflow import environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize(("target", "seconds"), [("all_tables", 15), ("table9", 8)])
def test_a_dry_run_of_the_papers_scale_takes_seconds(repository: Path, target: str, seconds: float) -> None:
    before = of_children()
    command = [sys.executable, "-m", "snakemake", "--dry-run", target, "--config", "scale=paper"]
    done = subprocess.run(
        command, cwd=repository, env=environment(repository), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert target in done.stdout
    assert of_children() - before <= seconds
