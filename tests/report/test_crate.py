"""An archive of a finished scale, against what RO-Crate 1.1 and its profiles for workflows and their runs require."""

import datetime
import hashlib
import json
import re
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from dpmix.errors import DataError
from dpmix.report.crate import write
from tests.status.conftest import lay

METADATA = "ro-crate-metadata.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The crate of a scale of two tables."""
    folder = tmp_path_factory.mktemp("crate")
    catalogue = lay(folder, repository, "table2", "table12")
    out = folder / "demo.crate.zip"
    with zipfile.ZipFile(out, "w"):
        pass  # it is replaced
    assert write(catalogue, Path("params.yaml"), out, folder) == len(zipfile.ZipFile(out).namelist()) - 1
    return out


@pytest.fixture(scope="module")
def graph(made: Path) -> dict[str, dict[str, Any]]:
    """The crate's entities by their identifiers."""
    with zipfile.ZipFile(made) as archive:
        content = json.loads(archive.read(METADATA))
    contexts = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]
    assert content["@context"] == contexts
    entities = {entity["@id"]: entity for entity in content["@graph"]}
    assert len(entities) == len(content["@graph"]), "an identifier stands for one entity"
    return entities


def references(value: Any) -> list[str]:
    """All identifiers that a property refers to."""
    if isinstance(value, dict):
        return [value["@id"]] if set(value) == {"@id"} else [one for part in value.values() for one in references(part)]
    return [one for part in value for one in references(part)] if isinstance(value, list) else []


def kinds(entity: dict[str, Any]) -> set[str]:
    return {entity["@type"]} if isinstance(entity["@type"], str) else set(entity["@type"])


def test_the_descriptor_and_the_root_are_as_ro_crate_asks(graph: dict[str, dict[str, Any]]) -> None:
    descriptor, root = graph[METADATA], graph["./"]
    assert (descriptor["@type"], descriptor["about"]) == ("CreativeWork", {"@id": "./"})
    assert references(descriptor["conformsTo"]) == [
        "https://w3id.org/ro/crate/1.1", "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
    ]  # fmt: skip
    assert root["@type"] == "Dataset"
    assert root["name"]
    assert root["description"]
    datetime.date.fromisoformat(root["datePublished"])
    (license_id,) = references(root["license"])
    assert graph[license_id]["name"] == "MIT"


def test_every_file_is_there_and_described_with_its_digest(made: Path, graph: dict[str, dict[str, Any]]) -> None:
    with zipfile.ZipFile(made) as archive:
        names = set(archive.namelist()) - {METADATA}
        parts = references(graph["./"]["hasPart"])
        assert {unquote(part) for part in parts} == names
        assert len(names) > 30
        for name in names:
            content = archive.read(name)
            entity = graph[next(part for part in parts if unquote(part) == name)]
            assert "File" in kinds(entity)
            assert entity["sha256"] == hashlib.sha256(content).hexdigest()
            assert entity["contentSize"] == str(len(content))
            assert "/" in entity["encodingFormat"]


def test_every_reference_is_described_or_a_known_term(graph: dict[str, dict[str, Any]]) -> None:
    outside = {one for entity in graph.values() for one in references(list(entity.values()))} - set(graph)
    assert outside == {
        "https://w3id.org/ro/crate/1.1", "http://schema.org/CompletedActionStatus", "https://snakemake.github.io",
        "https://doi.org/10.1093/bioinformatics/bts480",
    }  # fmt: skip


def test_it_is_a_workflow_ro_crate(graph: dict[str, dict[str, Any]]) -> None:
    (main,) = references(graph["./"]["mainEntity"])
    workflow = graph[main]
    assert main == "workflow/Snakefile"
    assert kinds(workflow) == {"File", "SoftwareSourceCode", "ComputationalWorkflow"}
    assert workflow["name"]
    (language,) = references(workflow["programmingLanguage"])
    assert graph[language]["@type"] == "ComputerLanguage"
    assert graph[language]["name"] == "Snakemake"
    assert graph["requirements.lock"]["@type"] == "File"
    assert references(workflow["softwareRequirements"]) == ["requirements.lock"]


def test_it_is_a_workflow_run_crate(graph: dict[str, dict[str, Any]]) -> None:
    profiles = references(graph["./"]["conformsTo"])
    assert {re.sub("/[^/]*$", "", one) for one in profiles} == {
        "https://w3id.org/ro/wfrun/process", "https://w3id.org/ro/wfrun/workflow",
        "https://w3id.org/workflowhub/workflow-ro-crate",
    }  # fmt: skip
    for profile in (profiles[0], profiles[1], profiles[2]):
        assert graph[profile]["@type"] == "CreativeWork"
        assert profile.endswith(f"/{graph[profile]['version']}")
    (action,) = [entity for entity in graph.values() if entity["@type"] == "CreateAction"]
    assert references(graph["./"]["mentions"]) == [action["@id"]]
    assert action["instrument"] == graph["./"]["mainEntity"]
    start, end = (datetime.datetime.fromisoformat(action[key]) for key in ("startTime", "endTime"))
    assert start <= end
    assert start.tzinfo is not None
    results = references(action["result"])
    assert {name for name in graph if name.startswith("results/")} == set(results)
    assert "results/demo/tables/table2.csv" in results
    assert sum(name.endswith("metrics.json") for name in results) == 4
    # Each parameter of the workflow is realized by something that the run was given.
    wanted = set(references(graph["workflow/Snakefile"]["input"]))
    given = [graph[one] for one in references(action["object"])]
    assert {one for entity in given for one in references(entity["exampleOfWork"])} == wanted
    assert {graph[one]["@type"] for one in wanted} == {"FormalParameter"}
    assert {graph[one]["additionalType"] for one in wanted} == {"File", "Text"}


def test_authors_and_paper_are_those_of_the_citation(graph: dict[str, dict[str, Any]]) -> None:
    authors = [graph[one] for one in references(graph["./"]["author"])]
    assert [(one["@type"], one["name"]) for one in authors] == [("Organization", "The dpmix developers")]
    (paper,) = [graph[one] for one in references(graph["./"]["citation"])]
    assert paper["name"].startswith("DP-Mix: Mixup-based Data Augmentation")
    assert "Wenxuan Bao" in paper["creditText"]


def test_equal_files_give_equal_archives(tmp_path: Path, repository: Path) -> None:
    catalogue = lay(tmp_path, repository, "table2", "table12")
    for name in ("a.zip", "b.zip"):
        write(catalogue, Path("params.yaml"), tmp_path / name, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_outside_a_checkout_it_says_so(tmp_path: Path, repository: Path) -> None:
    catalogue = lay(tmp_path, repository, "table2", "table12")
    (tmp_path / "requirements.lock").unlink()
    with pytest.raises(DataError, match=r"there is no requirements\.lock here; run it in the folder"):
        write(catalogue, Path("params.yaml"), tmp_path / "a.zip", tmp_path)
    assert not (tmp_path / "a.zip").exists()
