"""Every call of Snakemake that the README, a page or a stage of DVC gives: which jobs it plans, and no others."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dpmix.artefacts.base import Artefact
from dpmix.catalogue.catalogue import Catalogue
from dpmix.params.read import read

# As `snakemake` reads its command line, in one process for each call, which need not import everything again.
PLAN = """\
import json, os, sys
import dpmix.catalogue.catalogue, dpmix.data.origin, dpmix.params.read
from snakemake.cli import main
for number, words in enumerate(json.load(sys.stdin)):
    child = os.fork()
    if not child:
        out = os.open(f"{number}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1), os.dup2(out, 2)
        sys.argv = ["nothing", "of", "table13"]
        main(words)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, open(f"{number}.txt").read()
"""

# Calls that need a file or a table that their page has one write, or that plan nothing.
OTHER = ("mine.yaml", "my-params.yaml", "table_my_clipping", "--unlock", "--touch", "--lint", "--profile generic")
TARGET = re.compile(r"(table|figure)\w+|all_\w+|report|claims")


def documented(repository: Path) -> Iterator[str]:
    """Calls of Snakemake that are typed, with targets."""
    for page in (repository / "README.md", *sorted(repository.glob("docs/**/*.md"))):
        text = page.read_text(encoding="utf-8")
        for call in re.findall(r"^(?:\| .*?`)?(snakemake [^\n`#]*)", text, flags=re.MULTILINE):
            if any(TARGET.fullmatch(word) for word in call.split()):
                yield call.strip()
    # As the shell of `make demo` gets them.
    recipes = re.sub(r"\\\n\s*", " ", (repository / "Makefile").read_text(encoding="utf-8"))
    for call in re.findall(r"^\t@\$\(BIN\)/(snakemake --cores .*)$", recipes, flags=re.MULTILINE):
        yield call.replace("$(CORES)", "all")
    stages = yaml.safe_load((repository / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for stage in stages.values():
        commands = stage.get("do", stage)["cmd"]
        for call in [commands] if isinstance(commands, str) else commands:
            if call.startswith("snakemake"):
                filled = {"scale": "demo", "item": "table12", "key": "2"}
                yield re.sub(r"\$\{(\w+)\}", lambda found, filled=filled: filled[found[1]], call)


def groups(catalogue: Catalogue, artefacts: list[Artefact]) -> int:
    """How many processes train and measure these, each what it may share."""
    shares = [one.job_share() for one in artefacts if not one.path("").is_relative_to("data")]
    apart = {
        "stream": lambda share: share.stream,
        "images": lambda share: share.images or share.stream,
        "model": lambda share: share.seed,
    }[catalogue.spec.bundle.by]
    return len({(share.work, share.model, apart(share)) for share in shares})


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_documented_call_plans_what_its_targets_need_and_nothing_else(tmp_path: Path, repository: Path) -> None:
    for name in ("workflow", "slurm", "docs/cifar10"):
        shutil.copytree(repository / name, tmp_path / name)
    for name in ("params.yaml", "environment.yml"):
        shutil.copy(repository / name, tmp_path)
    calls = sorted(call for call in set(documented(repository)) if not any(word in call for word in OTHER))
    assert len(calls) >= 15
    assert "snakemake --cores all table9" in calls
    words = [[*shlex.split(call)[1:]] for call in calls]
    for one in words:
        one[:0] = ["--dry-run"]
    run = subprocess.run(
        [sys.executable, "-c", PLAN], cwd=tmp_path, input=json.dumps(words), capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    catalogues: dict[tuple[str, str | None], Catalogue] = {}
    for number, call in enumerate(calls):
        given = re.search(r"--configfile (\S+)", call)
        scale = re.search(r"scale=(\w+)", call)
        key = (given[1] if given else "params.yaml", scale[1] if scale else "paper" if "slurm" in call else None)
        if key not in catalogues:
            catalogues[key] = Catalogue(read(tmp_path / key[0]), key[1])
        catalogue = catalogues[key]
        targets = {word for word in call.split() if TARGET.fullmatch(word)}
        if "report" in targets:
            targets |= set(catalogue.targets)
        for several in targets & {"all_tables", "all_figures"}:
            targets |= {one for one in catalogue.targets if one.startswith(several[4:-1])}
        needed = {path for path, wanted_by in catalogue.needed_by.items() if wanted_by & targets}
        if "--until" in call:
            needed = {path for path in needed if path.startswith("data/") and "synthetic" not in path}
        said = (tmp_path / f"{number}.txt").read_text(encoding="utf-8")
        stats = re.search(r"^Job stats:\n.*?\n-+ +-+\n(.*?)^total +(\d+)$", said, flags=re.MULTILINE | re.DOTALL)
        made = sum(path.startswith("data/") for path in needed)
        computed = groups(catalogue, [catalogue.artefacts[path] for path in needed])
        shown = 0 if "--until" in call else len(targets)
        assert int(stats[2]) == made + computed + shown, f"{call}\n{stats[0]}"
        if "--quiet" not in call:
            planned = {
                path
                for line in re.findall(r"^    output: (.*)$", said, flags=re.MULTILINE)
                for path in line.split(", ")
            }
            assert planned & set(catalogue.artefacts) == needed, call
