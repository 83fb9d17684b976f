"""Snakemake and dpmix read the same params, whatever their form, and refuse the same."""

import ast
import os
from pathlib import Path
from typing import Any

import pytest

from dpmix.errors import ParamsError, naming
from dpmix.params.read import load_yaml, read
from tests.workflow.test_workflow import REDUCED, Clone, new_clone

# One method under a name, and one table under a number, that older readers of YAML take for others.
BARE = (
    REDUCED.replace('"2":', "2:")
    .replace('"12":', "12:")
    .replace("self-aug", "off")
    .replace("label: Self-Aug", "label: No")
    .replace("delta: 1.0e-5", "delta: 1e-5")
)


@pytest.fixture
def clone(tmp_path: Path, repository: Path) -> Clone:
    clone = new_clone(tmp_path / "clone", repository, BARE)
    with (clone.folder / "workflow" / "Snakefile").open("a") as file:
        file.write('\n\nwith open("config.txt", "w") as file:\n    file.write(repr(config))\n')
    return clone


def config(clone: Clone) -> Any:
    """What the workflow has as its `config`."""
    return ast.literal_eval((clone.folder / "config.txt").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "call", [(), ("--configfile", "own.yaml"), ("--configfile", "own.yaml", "--config", "scale=3")]
)
def test_the_configuration_is_what_dpmix_reads(clone: Clone, call: tuple[str, ...]) -> None:
    text = BARE.replace("\n  demo:", "\n  3:").replace("scale: demo", "scale: 3") if "scale=3" in call else BARE
    if call:
        (clone.folder / "params.yaml").rename(clone.folder / "own.yaml")
    path = clone.folder / ("own.yaml" if call else "params.yaml")
    path.write_text(text, encoding="utf-8")
    said = clone("--dry-run", *call, "--", "table2")
    assert "run-tiny-wrn" in said
    assert config(clone) == load_yaml(path)
    params = read(path)
    assert params.methods["off"].label == "No"
    assert params.at().scratch.delta == 1e-5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BARE.replace("  12:", "  2:"), "is not valid YAML: the key '2' is there twice, also in line "),
        (
            BARE.replace("datasets:\n", "datasets:\n\t"),
            "is not valid YAML: a tab stands where only spaces can (line 3, ",
        ),
        ("- scale: demo\n", ": the file is no mapping; "),
        (
            BARE.replace("batch_size: 50", "batch_size: 050"),
            ": scales.demo.scratch.batch_size: 050 is 50 in YAML 1.2 and",
        ),
    ],
)
def test_a_form_that_is_refused_is_the_same_line_as_of_dpmix(clone: Clone, text: str, words: str) -> None:
    (clone.folder / "params.yaml").write_text(text, encoding="utf-8")
    (line,) = clone("--dry-run", "table2", fails=True).splitlines()
    assert line.startswith("error: params.yaml")
    assert words in line


# What Snakemake's own reader ends at, with words of its own or with a traceback.
OF_NO_READER: dict[str, tuple[bytes, str]] = {
    "not UTF-8": (BARE.replace("digits, source", "d\xe9, source").encode("latin-1", "replace"), " is not UTF-8 but "),
    "nothing": (b"# later\n", ": the file is empty; get the project's parameters back"),
    "a tab": (
        BARE.replace("  demo:", "\tdemo:").encode(),
        " is not valid YAML: a tab stands where only spaces can (line ",
    ),
    "a circle": (BARE.replace("figures: {}", "figures: &all { 1: *all }").encode(), "figures.1: it contains itself; "),
    "5,000 digits": (
        BARE.replace("epochs: 6", f"epochs: {5000 * '9'}").encode(),
        f"YAML: {40 * '9'} is no number (line ",
    ),
}


@pytest.mark.parametrize("kind", OF_NO_READER)
def test_a_file_that_snakemake_cannot_read_is_the_same_line(clone: Clone, kind: str) -> None:
    content, words = OF_NO_READER[kind]
    (clone.folder / "own.yaml").write_bytes(content)
    (line,) = clone("--dry-run", "table2", "--configfile", "own.yaml", fails=True).splitlines()
    with pytest.raises(ParamsError) as caught, naming("own.yaml"):
        read(clone.folder / "own.yaml")
    assert line == f"error: {caught.value}".replace(f"{clone.folder}/", "")
    assert words in line


def test_what_is_no_file_of_params_is_one_line_with_snakemakes_option(clone: Clone) -> None:
    os.mkfifo(clone.folder / "pipe")
    said = {
        "lost.yaml": "lost.yaml does not exist; run from the repository's root or pass --configfile",
        "workflow": "workflow cannot be read (Is a directory); pass a YAML file by --configfile",
        "pipe": "pipe is a pipe, which is read once, and each job reads the params; give a file",
    }
    for name, line in said.items():
        assert clone("--dry-run", "table2", "--configfile", name, fails=True) == f"error: {line}\n"


def test_two_files_are_refused(clone: Clone) -> None:
    (clone.folder / "own.yaml").write_text(BARE, encoding="utf-8")
    (line,) = clone("--dry-run", "table2", "--configfile", "params.yaml", "own.yaml", fails=True).splitlines()
    assert line == (
        "error: --configfile names several files, params.yaml, own.yaml; name one, which has all, and targets "
        "before it or after --"
    )


def test_braces_in_the_path_of_the_checkout_are_one_line_and_the_remedy_works(clone: Clone) -> None:
    folder, clone.folder = clone.folder, clone.folder.with_name("a {b}")
    folder.rename(clone.folder)
    (line,) = clone("--dry-run", "table2", fails=True).splitlines()
    assert line == f"error: braces in {clone.folder}/workflow are names to Snakemake; rename that folder"
    clone.folder = clone.folder.rename(folder)
    assert "run-tiny-wrn" in clone("--dry-run", "table2")
