"""Snakemake itself, on a clone: what it plans, what it makes, and what it leaves when it is killed.

Long because a clone of the workflow takes seconds, and its tests share it.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml

from dpmix.artefacts.experiment import Experiment
from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.jobs import needed_for
from dpmix.params.read import parse, read
from dpmix.workflow.owner import Caller

# What Snakemake says first.
PROFILE = "Using workflow specific profile workflow/profiles/default for setting default command line arguments.\n"

# Four runs from scratch that take next to no time, two of which a second table shows again.
REDUCED = """\
scale: demo
datasets:
  digits: { label: digits, source: scikit-learn, classes: 10, channels: 1, train: 300, test: 360 }
models:
  tiny-wrn:
    { label: Net, kind: wide-resnet, depth: 10, width: 1, groups: 4, base_channels: 4, stem_stride: 2, resolution: 16 }
  eye: { label: Eye, kind: encoder, architecture: tiny-vit, weights: strokes, resolution: 16 }
diffusion:
  brush: { model: strokes, guidance_scale: 1.0, steps: 1, resolution: 16, scheduler: DPMSolverMultistepScheduler }
methods:
  self-aug: { label: Self-Aug, k_self: 0 }
scales:
  demo:
    synthetic: brush
    seeds: [1, 2]
    bundle: { by: model }
    tuning: { learning_rates: [1] }
    scratch: &track
      delta: 1.0e-5
      accountant: rdp
      clip_norm: 1
      batch_size: 50
      epochs: 6
      learning_rate: 1
      k_base: 2
      k_self: 0
      k_diff: 0
      transforms: [crop]
      padding: 1
    finetune: *track
    tables:
      "2":
        kind: accuracy
        rows: [{ axis: Dataset, dataset: [digits] }, { axis: Method, method: [self-aug] }]
        columns: [{ axis: ε, epsilon: [1, 2] }]
        fixed: { model: tiny-wrn }
      "12":
        kind: accuracy
        rows: [{ axis: Method, method: [self-aug] }]
        fixed: { dataset: digits, model: tiny-wrn, epsilon: 1 }
    figures: {}
"""


def environment(repository: Path) -> dict[str, str]:
    paths = os.pathsep.join(filter(None, [str(repository), os.environ.get("PYTHONPATH")]))
    # Without bytecode on disk every process would compile anew whatever it imports.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    # No environment is activated: jobs find the Python of Snakemake.
    return {**inherited, "PATH": os.defpath, "PYTHONPATH": paths}


class Clone:
    """The workflow in a folder of its own."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.folder, self.repository = folder, repository

    def __call__(
        self, *arguments: str, fails: bool = False, python: str | Path = sys.executable, **variables: str
    ) -> str:
        """Snakemake's whole output, run by a Python and with these environment variables."""
        run = subprocess.run(
            [python, "-m", "snakemake", "--cores", "1", *arguments],
            cwd=self.folder, env=environment(self.repository) | variables,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert (run.returncode != 0) == fails, run.stdout
        return run.stdout.replace(PROFILE, "")

    def planned(self, *arguments: str) -> set[str]:
        """The files that a call would make, the empty ones that only say what the others show left out."""
        lines = re.findall(r"^    output: (.*)$", self("--dry-run", *arguments), flags=re.MULTILINE)
        return {path for line in lines for path in line.split(", ") if "/stamps/" not in path}

    def edit(self, old: str, new: str) -> None:
        path = self.folder / "params.yaml"
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1
        path.write_text(text.replace(old, new), encoding="utf-8")

    def catalogue(self) -> Catalogue:
        return Catalogue(read(self.folder / "params.yaml"))

    def runs(self) -> dict[str, str]:
        """Every finished run's content."""
        results = self.folder / "results"
        return {path.relative_to(self.folder).as_posix(): path.read_text() for path in results.rglob("metrics.json")}


def new_clone(folder: Path, repository: Path, params: str | None = None) -> Clone:
    folder.mkdir()
    shutil.copytree(repository / "workflow", folder / "workflow")
    for name in ("params.yaml", "environment.yml"):
        shutil.copy(repository / name, folder)
    if params:
        (folder / "params.yaml").write_text(params, encoding="utf-8")
    return Clone(folder, repository)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Clone:
    """A clone with the reduced parameters, and Table 2 made."""
    clone = new_clone(tmp_path_factory.mktemp("made") / "clone", repository, REDUCED)
    clone("table2")
    return clone


@pytest.fixture
def copy(made: Clone, tmp_path: Path) -> Clone:
    shutil.copytree(made.folder, tmp_path / "clone", symlinks=True)
    return Clone(tmp_path / "clone", made.repository)


@pytest.fixture
def clone(tmp_path: Path, repository: Path) -> Clone:
    """A clone with the project's own parameters and nothing made."""
    return new_clone(tmp_path / "clone", repository)


def tables(number: str) -> set[str]:
    return {f"results/demo/tables/table{number}.{kind}" for kind in ("csv", "md", "tex", "json")}


# Making ---------------------------------------------------------------------------------------------------------------


def test_a_table_is_made_from_its_runs(made: Clone) -> None:
    catalogue = made.catalogue()
    assert set(made.runs()) == {path for path, one in catalogue.artefacts.items() if isinstance(one, Experiment)}
    assert len(made.runs()) == 4
    table = json.loads((made.folder / "results/demo/tables/table2.json").read_text())
    for cell, spec in zip(table["cells"], catalogue.cells("2"), strict=True):
        accuracies = [json.loads(made.runs()[catalogue.path(run)])["accuracy"] for run in spec.artefacts]
        assert cell["values"] == accuracies
    assert [cell["column"] for cell in table["cells"]] == [["ε = 1"], ["ε = 2"]]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_for_each_job(made: Clone, tmp_path: Path) -> None:
    # Without a GPU the two processes talk over Gloo.
    params = REDUCED.replace("bundle: { by: model }", "bundle: { by: model, gpus: 2 }")
    two = new_clone(tmp_path / "two", made.repository, params)
    shown = two("--printshellcmds", "table2")
    assert "torch.distributed.run --standalone --nproc-per-node=2 -m dpmix step train" in shown
    assert set(two.runs()) == set(made.runs())
    for path, text in two.runs().items():
        found, expected = json.loads(text), json.loads(made.runs()[path])
        # Accuracies are compared in tests/training/test_workers.py, on networks that learn: one that does not, as here,
        # turns rounding into chaos.
        for key in ("epsilon", "noise_multiplier", "sensitivity", "steps", "experiment"):
            assert found[key] == expected[key]


def test_a_second_call_has_nothing_to_do(made: Clone) -> None:
    assert "Nothing to be done" in made("--dry-run", "table2")


CHANGES: dict[str, tuple[str, str, Callable[[str], bool]]] = {
    "epsilon": ("epsilon: [1, 2]", "epsilon: [1, 4]", lambda path: "/eps4-" in path),
    "seed": ("seeds: [1, 2]", "seeds: [1, 3]", lambda path: "-seed3-" in path),
    "K": ("k_base: 2", "k_base: 3", lambda path: "-k3-0-0-" in path),
}


@pytest.mark.parametrize("records", [True, False], ids=["with records", "without records"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_runs_exactly_what_it_touches(copy: Clone, change: str, records: bool) -> None:
    old, new, touched = CHANGES[change]
    if not records:
        shutil.rmtree(copy.folder / ".snakemake")
    copy.edit(old, new)
    wanted = {path for path, one in copy.catalogue().artefacts.items() if isinstance(one, Experiment)}
    planned = copy.planned("table2")
    assert {path for path in planned if path.endswith("metrics.json")} == wanted - set(copy.runs())
    assert wanted - set(copy.runs()) == {path for path in wanted if touched(path)} != set()
    plans = {path for path in planned if "/plans/" in path}
    assert len(plans) == (1 if change == "epsilon" else 0)
    # Nothing but runs, their noise, and the table that shows them.
    assert planned == {path for path in planned if path.endswith("metrics.json")} | plans | tables("2")


def test_a_table_is_made_again_when_only_a_label_changes(copy: Clone) -> None:
    shutil.rmtree(copy.folder / ".snakemake")
    copy.edit("label: Self-Aug", "label: Self-Augmentation")
    assert copy.planned("table2") == tables("2")


def test_a_change_that_is_taken_back_shows_the_first_runs_again(copy: Clone) -> None:
    """Without records, when no run is missing: what counts is which runs a table shows."""
    path = copy.folder / "results/demo/tables/table2.csv"
    before = path.read_text()
    for old, new in (("seeds: [1, 2]", "seeds: [1]"), ("seeds: [1]", "seeds: [1, 2]")):
        shutil.rmtree(copy.folder / ".snakemake")
        copy.edit(old, new)
        copy("table2")
        assert (path.read_text() == before) == (new == "seeds: [1, 2]")


def test_times_of_files_and_parameters_of_rules_trigger_nothing(copy: Clone) -> None:
    """Among them the name of the params file, which each rule has; records or none."""
    (copy.folder / "params.yaml").rename(copy.folder / "mine.yaml")
    rules = copy.folder / "workflow" / "rules" / "train.smk"
    rules.write_text(rules.read_text().replace("step train", " step train"))
    for path in sorted((copy.folder / "data").rglob("*")) + sorted((copy.folder / "results").rglob("metrics.json")):
        path.touch()
    call = ("--dry-run", "--configfile", "mine.yaml", "--", "table2")
    assert "Nothing to be done" in copy(*call)
    shutil.rmtree(copy.folder / ".snakemake")
    assert "Nothing to be done" in copy(*call)


def test_a_table_that_does_not_show_the_runs_on_disk_is_made_anew(copy: Clone) -> None:
    """Edited, or from elsewhere, as by git; asked for by its name or its file's."""
    table = copy.folder / "results/demo/tables/table2.csv"
    before = table.read_text()
    for target in ("table2", "results/demo/tables/table2.csv"):
        table.write_text(before.replace("1", "9"))
        assert copy.planned(target) == tables("2")
        copy(target)
        assert table.read_text() == before
        assert "Nothing to be done" in copy("--dry-run", target)


def test_other_code_is_run_and_a_comment_is_not(copy: Clone) -> None:
    package = copy.folder / "dpmix"
    shutil.copytree(copy.repository / "dpmix", package, ignore=shutil.ignore_patterns("__pycache__"))
    there = Clone(copy.folder, copy.folder)
    mixing = package / "views" / "mixing.py"
    text = mixing.read_text(encoding="utf-8")
    mixing.write_text("# A comment.\n" + text, encoding="utf-8")
    assert "Nothing to be done" in there("--dry-run", "table2")
    mixing.write_text(
        text.replace("from collections", "raise SystemExit('edited')\nfrom collections", 1), encoding="utf-8"
    )
    planned = there.planned("table2")
    assert {path for path in planned if path.endswith("metrics.json")}.isdisjoint(copy.runs())
    assert not any(path.startswith("data/") or "/plans/" in path for path in planned)
    assert "edited" in there("table2", fails=True)
    mixing.write_text(text, encoding="utf-8")
    assert "Nothing to be done" in there("--dry-run", "table2")


def content(runs: dict[str, str]) -> dict[str, str]:
    """All of `metrics.json` but the times, in the file's own order."""
    found = {}
    for path, text in runs.items():
        metrics = json.loads(text)
        del metrics["times"]
        found[path] = json.dumps(metrics)
    return found


def test_a_killed_call_leaves_nothing_that_counts_as_done_and_results_come_back(copy: Clone) -> None:
    """All results deleted; killed without warning as soon as one run is there; then called again."""
    before, table = copy.runs(), (copy.folder / "results/demo/tables/table2.csv").read_text()
    shutil.rmtree(copy.folder / "results")
    call = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1", "table2"],
        cwd=copy.folder, env=environment(copy.repository), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while call.poll() is None and not copy.runs():
            time.sleep(0.01)
    finally:
        os.killpg(call.pid, signal.SIGKILL)
        call.wait()
    finished = copy.runs()
    assert 0 < len(finished) < len(before)
    assert content(finished).items() <= content(before).items()

    assert {path for path in copy.planned("table2") if path.endswith("metrics.json")} == set(before) - set(finished)
    copy("table2")
    assert finished.items() <= copy.runs().items()
    assert content(copy.runs()) == content(before)
    assert (copy.folder / "results/demo/tables/table2.csv").read_text() == table


# In the place of `python` in a job: does the same, then kills Snakemake before this hears of it.
KILLER = """\
#!{python}
import subprocess
import sys

import psutil

subprocess.run([{python!r}, *sys.argv[1:]], check=True)
(snakemake, *_) = [one for one in psutil.Process().parents() if "snakemake" in one.cmdline()]
snakemake.kill()
"""


def test_what_was_being_written_when_snakemake_was_killed_is_made_again(copy: Clone, tmp_path: Path) -> None:
    """Without an option: the workflow's own profile asks for it."""
    table = copy.folder / "results/demo/tables/table2.csv"
    before = table.read_text()
    shutil.rmtree(table.parent)
    # An environment like this one, but that its `python`, which jobs run, is another program.
    killer = tmp_path / "bin" / "python"
    killer.parent.mkdir()
    killer.write_text(KILLER.format(python=sys.executable))
    killer.chmod(0o755)
    killer.with_name("python3").symlink_to(sys.executable)
    for name in ("lib", "pyvenv.cfg"):
        if (here := Path(sys.prefix) / name).exists():
            (tmp_path / name).symlink_to(here)
    copy("table2", fails=True, python=killer.with_name("python3"))
    assert table.read_text() == before
    assert "IncompleteFilesException" in copy("--workflow-profile", "none", "table2", fails=True)
    assert "python -m dpmix step table 2" in copy("--printshellcmds", "table2")
    assert table.read_text() == before
    assert "Nothing to be done" in copy("--dry-run", "table2")


def test_a_lock_holds_while_its_owner_lives_and_no_longer(copy: Clone) -> None:
    """The owner is this test: a note is like that of a call, and so are the locks."""
    shutil.rmtree(copy.folder / "results" / "demo" / "tables")
    records = copy.folder / ".snakemake"
    lock, note = records / "locks" / "0.output.lock", records / "callers" / "note.json"
    lock.parent.mkdir(exist_ok=True)
    note.parent.mkdir(exist_ok=True)
    lock.write_text("results/demo/tables/table2.csv\n")
    note.write_text(json.dumps(asdict(Caller.this())))
    *_, last = copy("table2", fails=True).splitlines()
    assert last.startswith(f"error: another call of Snakemake is making these files (process {os.getpid()} on ")
    assert lock.exists()
    assert "table2" in copy("--dry-run", "table2")
    note.write_text(json.dumps(asdict(replace(Caller.this(), boot="before this machine was started anew"))))
    copy("table2")
    assert tables("2") <= {
        path.relative_to(copy.folder).as_posix() for path in copy.folder.glob("results/demo/tables/*")
    }
    assert not list(lock.parent.glob("*.lock"))
    assert not list(note.parent.iterdir())


# Planning -------------------------------------------------------------------------------------------------------------


def test_one_table_plans_what_it_needs_and_nothing_else(clone: Clone) -> None:
    catalogue = clone.catalogue()
    needed = {path for path, targets in catalogue.needed_by.items() if "table9" in targets}
    assert clone.planned("table9") == needed | tables("9")


def test_the_papers_grid_is_planned_in_seconds(clone: Clone, repository: Path) -> None:
    catalogue = Catalogue(read(repository / "params.yaml"), "paper")
    started = os.times()
    planned = clone.planned("--config", "scale=paper", "--", "all_tables", "all_figures", "claims")
    ended = os.times()
    assert set(catalogue.artefacts) <= planned
    assert {f"results/paper/tables/table{number}.csv" for number in range(1, 14)} <= planned
    assert {f"results/paper/figures/figure{number}.png" for number in (1, 2)} <= planned
    assert not any(path.startswith("results/demo") for path in planned)
    # Of the processor, which others may use at the same time. It takes about 5.
    assert ended.children_user + ended.children_system - started.children_user - started.children_system < 15


def training_jobs(output: str) -> dict[str, set[str]]:
    """The runs of each training job in a dry run's output, by its name."""
    found = re.findall(r"^rule (run-tiny-wrn-\w+):.*?^    output: (.*?)$", output, flags=re.MULTILINE | re.DOTALL)
    return {name: set(paths.split(", ")) for name, paths in found}


@pytest.mark.parametrize(
    ("targets", "count"),
    [("table12", 2), ("table2 table12", 4), ("all_tables", 4), ("results/demo/tables/table12.csv", 2)],
)
def test_a_call_trains_what_its_targets_need_with_one_job_for_each_seed(copy: Clone, targets: str, count: int) -> None:
    """And a cluster's node, where Snakemake starts a job by the name of its rule, knows it."""
    shutil.rmtree(copy.folder / "results")
    catalogue, words = copy.catalogue(), targets.split()
    found = training_jobs(copy("--dry-run", *words))
    assert set.union(*found.values()) == {
        path for path in needed_for(catalogue, words) if isinstance(catalogue.artefacts[path], Experiment)
    }
    assert sum(map(len, found.values())) == count
    assert len(found) == len(catalogue.spec.seeds) == 2
    for name, paths in found.items():
        # What Snakemake hands to a job that it submits.
        arguments = ("--mode", "remote", "--force", "--nolock", "--target-jobs", f"{name}:", "--allowed-rules", name)
        there = copy("--dry-run", *arguments, DPMIX_TARGETS=json.dumps(words))
        assert training_jobs(there) == {name: paths}


def test_what_a_call_asks_for_is_read_as_snakemake_reads_it(copy: Clone) -> None:
    """A table that is named as something else than a target, or after other options, or twice."""
    shutil.rmtree(copy.folder / "results")
    alone = training_jobs(copy("--dry-run", "table12"))
    assert training_jobs(copy("--config", "scale=demo", "--dry-run", "--", "table12", "table12")) == alone
    assert training_jobs(copy("-n", "table12", "--omit-from", "table2")) == alone
    both = training_jobs(copy("--dry-run", "table2"))
    assert training_jobs(copy("table12", "-n", "--prioritize", "table2")) == both != alone
    assert training_jobs(copy("--dry-run", DPMIX_TARGETS='["table12"]')) == both


def test_a_new_row_changes_the_name_of_no_other_job(copy: Clone) -> None:
    shutil.rmtree(copy.folder / "results")
    copy.edit("bundle: { by: model }", "bundle: { by: stream }")
    before = training_jobs(copy("--dry-run", "all_tables"))
    copy.edit(
        "  self-aug: { label: Self-Aug, k_self: 0 }",
        "  self-aug: { label: Self-Aug, k_self: 0 }\n  more: { label: More, k_self: 1 }",
    )
    copy.edit(
        "{ axis: Method, method: [self-aug] }]\n        columns",
        "{ axis: Method, method: [self-aug, more] }]\n        columns",
    )
    after = training_jobs(copy("--dry-run", "all_tables"))
    new = {name: paths for name, paths in after.items() if name not in before}
    assert after == before | new
    assert len(new) == 4
    assert all("/more/" in path for paths in new.values() for path in paths)


# Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("epsilon: [1, 2]", "epsilon: [1, 0]", "tables.2.columns.0.epsilon.1: should be greater than 0, not 0"),
        ("batch_size: 50", "batch_size: 301", "batch_size 301 exceeds the 300 training images; lower it"),
        ("seeds:", "sedes:", "scales.demo.sedes: unknown key; did you mean 'seeds'?"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_before_anything_runs(copy: Clone, old: str, new: str, words: str) -> None:
    shutil.rmtree(copy.folder / "results")
    copy.edit(old, new)
    (line,) = copy("table2", fails=True).splitlines()
    assert line.startswith("error: params.yaml: ")
    assert words in line
    assert not (copy.folder / "results").exists()


def test_a_broken_file_is_one_line_that_says_where(copy: Clone) -> None:
    copy.edit("seeds: [1, 2]", "seeds: [1, 2")
    (line,) = copy("table2", fails=True).splitlines()
    assert line.startswith("error: params.yaml is not valid YAML: ")
    assert re.search(r"\(line \d+, column \d+\)", line)
    (copy.folder / "params.yaml").unlink()
    (line,) = copy("table2", fails=True).splitlines()
    assert line == "error: params.yaml does not exist; run from the repository's root or pass --configfile"


def test_only_the_scale_is_set_on_the_command_line(copy: Clone) -> None:
    def refusal(*config: str) -> str:
        lines = copy("--dry-run", "--config", *config, "--", "table2", fails=True).splitlines()
        return "\n".join(line for line in lines if not line.startswith("Config file params.yaml is extended"))

    only = refusal("methods={self-aug: {label: Other, k_self: 0}}")
    assert only == "error: only scale can be set with --config; for anything else edit params.yaml or give --configfile"
    assert refusal("scale=ppaer").startswith("error: params.yaml: unknown scale 'ppaer'; ")
    assert refusal("seeds=[1]").startswith("error: params.yaml: seeds: unknown key; ")


def test_a_table_that_is_not_there_has_no_rule(copy: Clone) -> None:
    for target in ("chart14", "results/demo/tables/table14.csv"):
        assert f"No rule to produce {target}" in copy("--dry-run", target, fails=True)
    assert copy("--dry-run", "tabel12", fails=True) == (
        "error: no target is called 'tabel12'; did you mean 'table12'?\n"
    )


def test_the_params_may_have_any_name(copy: Clone) -> None:
    """The shell gets it as one word, and Snakemake finds no wildcard in it."""
    shutil.rmtree(copy.folder / "results")
    name = "my 'own' {params} $HOME.yaml"
    (copy.folder / "params.yaml").rename(copy.folder / name)
    said = copy("--dry-run", "--printshellcmds", "table2", "--configfile", name)
    commands = re.findall(r"^Shell command: .*?(python .*) 2> >", said, flags=re.MULTILINE)
    assert len(commands) > 3
    for command in commands:
        words = shlex.split(command)
        assert words[words.index("--params") + 1] == name


def test_the_workflow_is_in_good_style(repository: Path) -> None:
    lint = subprocess.run(
        [sys.executable, "-m", "snakemake", "--lint"], cwd=repository, env=environment(repository),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert lint.returncode == 0, lint.stdout


def test_the_reduced_parameters_are_parameters() -> None:
    assert list(parse(yaml.safe_load(REDUCED)).at().tables) == ["2", "12"]
