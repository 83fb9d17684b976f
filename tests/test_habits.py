"""Continuous integration, issue templates, hooks and citation say what the project does."""

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import dpmix

TEMPLATES = ("bug.yml", "different-result.yml", "privacy-fault.yml")


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def pythons(project: dict[str, Any]) -> list[str]:
    """The versions that the project claims to run on."""
    found = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert len(found) >= 3
    return found


@pytest.fixture(scope="module")
def checks(repository: Path) -> dict[str, Any]:
    """The one job of the workflow."""
    workflow = yaml.safe_load((repository / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    # YAML reads `on` as true.
    assert {"push", "pull_request"} <= set(workflow[True])
    assert workflow["permissions"] == {"contents": "read"}
    return job


def test_ci_runs_everything_that_a_change_must_pass(checks: dict[str, Any], repository: Path) -> None:
    assert checks["steps"][-1] == {"run": ".ci/run"}
    assert os.access(repository / ".ci" / "run", os.X_OK)
    assert not checks.get("continue-on-error")
    assert not any("if" in step or "continue-on-error" in step for step in checks["steps"])


def test_ci_runs_on_both_processors_and_every_python_that_is_claimed(
    checks: dict[str, Any], pythons: list[str]
) -> None:
    matrix = checks["strategy"]["matrix"]
    assert set(matrix) == {"runner", "python"}
    assert matrix["python"] == pythons
    assert sorted(runner.endswith("-arm") for runner in matrix["runner"]) == [False, True]
    assert checks["runs-on"] == "${{ matrix.runner }}"


def test_ci_uses_the_python_of_its_image(checks: dict[str, Any], repository: Path, tmp_path: Path) -> None:
    """`.ci/run` hands PYTHON on to make, which takes it for .venv (see test_packaging)."""
    assert checks["container"].startswith("python:${{ matrix.python }}-")
    assert checks["env"] == {"PYTHON": "python${{ matrix.python }}"}
    # The script itself, in a clone whose make prints what it was given.
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "run").write_bytes((repository / ".ci" / "run").read_bytes())
    (tmp_path / "Makefile").write_text(".DEFAULT:\n\t@echo $@ with $(PYTHON)\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("git", "pdflatex", "chromium", "slurmctld", "munged"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    # Run by make, this test has its settings in the environment, and the inner make would tell folders.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    run = subprocess.run(
        ["bash", ".ci/run"], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**clean, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHON": "python3.12"},
    )  # fmt: skip
    calls = run.stdout.splitlines()
    assert "test with python3.12" in calls
    assert [call for call in calls if not call.endswith(" with python3.12")] == []


def test_every_python_on_offer_is_claimed_and_run(
    repository: Path, project: dict[str, Any], pythons: list[str]
) -> None:
    environment = yaml.safe_load((repository / "environment.yml").read_text(encoding="utf-8"))
    (conda,) = (one for one in environment["dependencies"] if isinstance(one, str) and one.startswith("python"))
    versions = [f"3.{minor}" for minor in range(30)]
    assert [one for one in versions if one in SpecifierSet(conda.removeprefix("python"))] == pythons
    assert min(versions.index(one) for one in versions if one in SpecifierSet(project["requires-python"])) == 11


# Issues ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=TEMPLATES)
def form(request: pytest.FixtureRequest, repository: Path) -> dict[str, Any]:
    return read_form(repository, request.param)


def read_form(repository: Path, name: str) -> dict[str, Any]:
    return yaml.safe_load((repository / ".github" / "ISSUE_TEMPLATE" / name).read_text(encoding="utf-8"))


def test_the_templates_are_all_that_there_are(repository: Path) -> None:
    found = {path.name for path in (repository / ".github" / "ISSUE_TEMPLATE").iterdir()}
    assert found == {*TEMPLATES, "config.yml"}
    names = [read_form(repository, name)["name"] for name in TEMPLATES]
    assert len(set(names)) == len(names)


def test_a_template_is_a_form_that_github_reads(form: dict[str, Any]) -> None:
    assert set(form) == {"name", "description", "labels", "body"}
    questions = [part for part in form["body"] if part["type"] != "markdown"]
    assert len(questions) >= 5
    for part in questions:
        assert part["type"] in {"input", "textarea", "dropdown"}
        assert set(part) == {"type", "id", "attributes", "validations"}
        assert set(part["attributes"]) <= {"label", "description", "render", "options"}
        assert set(part["validations"]) == {"required"}
    identities = [part["id"] for part in questions]
    assert len(set(identities)) == len(identities)


def test_a_template_asks_for_the_experiment_the_machine_and_the_command(form: dict[str, Any]) -> None:
    asked = {part["id"]: part["attributes"].get("description", "") for part in form["body"] if "id" in part}
    assert {"hash", "machine", "command"} <= set(asked)
    assert "<hash>" in asked["hash"]


def test_what_a_template_cannot_do_without(repository: Path) -> None:
    required = {
        name: {
            part["id"] for part in read_form(repository, name)["body"] if part.get("validations", {}).get("required")
        }
        for name in TEMPLATES
    }
    assert {"command", "output", "machine", "version"} <= required["bug.yml"]
    assert {"hash", "metrics", "command", "machine"} <= required["different-result.yml"]
    # Nobody must be made to say in public what belongs into a private report.
    assert required["privacy-fault.yml"] == {"version", "reported"}


def test_a_fault_of_privacy_is_sent_to_the_security_policy(repository: Path) -> None:
    form = read_form(repository, "privacy-fault.yml")
    first = form["body"][0]["attributes"]["value"]
    assert "SECURITY.md" in first
    assert "in private" in first
    for name in TEMPLATES[:2]:
        assert form["name"] in (repository / ".github" / "ISSUE_TEMPLATE" / name).read_text(encoding="utf-8")
    assert form["name"] in (repository / "SECURITY.md").read_text(encoding="utf-8")


def test_the_security_policy_is_about_this_version(repository: Path) -> None:
    text = (repository / "SECURITY.md").read_text(encoding="utf-8")
    mended = re.findall(r"^\| ([\d.]+) \| yes \|$", text, flags=re.MULTILINE)
    assert mended == [".".join(dpmix.__version__.split(".")[:2])]


# Hooks and citation ---------------------------------------------------------------------------------------------------


def test_hooks_are_what_make_lint_runs_with_the_locks_tools(repository: Path, project: dict[str, Any]) -> None:
    config = yaml.safe_load((repository / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (local,) = config["repos"]
    assert local["repo"] == "local"
    assert all(hook["language"] == "system" for hook in local["hooks"])
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    lint = re.search(r"^lint: install\n((?:\t.*\n)+)", makefile, flags=re.MULTILINE)[1]
    linted = [re.sub(r" (--check|\.|workflow)(?= |$)", "", line) for line in re.findall(r"\$\(BIN\)/(.+)", lint)]
    hooks = [hook["entry"].replace(" --fix", "") for hook in local["hooks"]]
    # `snakemake --lint` reads the whole workflow, and takes too long before every commit.
    assert hooks == [line for line in linted if not line.startswith("snakemake")]
    tools = {re.split("[<>=]", one)[0] for one in project["optional-dependencies"]["dev"]}
    assert {hook.split()[0] for hook in hooks} | {"pre-commit"} <= tools


def test_the_citation_is_of_this_project(repository: Path, project: dict[str, Any]) -> None:
    citation = yaml.safe_load((repository / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["title"].startswith(f"{project['name']}:")
    assert citation["license"] == project["license"]
    assert (repository / "LICENSE").read_text(encoding="utf-8").startswith(f"{project['license']} License")
    assert citation["authors"] == project["authors"]
    assert set(citation["keywords"]) <= set(project["keywords"])
    (paper,) = citation["references"]
    readme = " ".join((repository / "README.md").read_text(encoding="utf-8").split())
    assert paper["title"] in readme
    for author in paper["authors"]:
        assert author["family-names"] in readme
    assert str(paper["year"]) in readme
