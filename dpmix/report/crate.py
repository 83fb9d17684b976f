"""An RO-Crate of a finished scale: one archive with its results and all that made them, which says what each file is.

It follows RO-Crate 1.1, and the profiles Workflow RO-Crate 1.0 and Workflow Run Crate 0.5: JSON-LD in which the
workflow is the main entity, and one action made the results from the params.
"""

import datetime
import hashlib
import json
import mimetypes
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

import dpmix
from dpmix.catalogue import stamps
from dpmix.catalogue.catalogue import Catalogue
from dpmix.errors import DataError
from dpmix.files import atomic_file
from dpmix.progress import progress
from dpmix.status.standing import standing

METADATA = "ro-crate-metadata.json"
_WORKFLOW = "workflow/Snakefile"
_LOCK, _CITATION = "requirements.lock", "CITATION.cff"
# What is put in beside the workflow, the params and the results.
_BESIDE = (_LOCK, "environment.yml", _CITATION, "LICENSE", "README.md")
_WFRUN = "https://w3id.org/ro/wfrun"
_PROFILES = {
    f"{_WFRUN}/process/0.5": ("Process Run Crate", "0.5"),
    f"{_WFRUN}/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
_SNAKEMAKE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
_FORMATS = {".smk": "text/x-python", ".yaml": "application/yaml", ".yml": "application/yaml", ".md": "text/markdown",
            ".cff": "application/yaml", ".tex": "application/x-tex", ".rst": "text/x-rst",
            ".npz": "application/zip"}  # fmt: skip

Entity = dict[str, Any]


def write(catalogue: Catalogue, params: Path, out: Path, root: Path = Path()) -> int:
    """Write the crate of a scale.

    Args:
        catalogue: the scale.
        params: its params file, below `root`.
        out: the archive to write; WorkflowHub wants a name that ends in `.crate.zip`.
        root: the checkout in which the scale was made.

    Returns:
        The number of files in it.

    Raises:
        DataError: if a table, a figure or a run is missing or of other params, or `root` is no checkout.
    """
    left = standing(catalogue, root)
    if left.goes_on is not None or left.together.done < left.together.count:
        raise DataError(f"scale {catalogue.scale} is not complete; first run: {left.goes_on or 'snakemake'}")
    used = [path.relative_to(root).as_posix() for path in sorted((root / "workflow").rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts]  # fmt: skip
    settings = params.as_posix()
    made = _results(catalogue, root)
    names = sorted({*used, settings, *_BESIDE, *made})
    for name in (_WORKFLOW, *_BESIDE, settings):
        if not (root / name).is_file():
            raise DataError(f"there is no {name} here; run it in the folder that the project was cloned to")
    files = {name: _file(root / name, name) for name in progress(names, "digesting", "file")}
    graph = _graph(catalogue, files, made, settings, root)
    text = json.dumps({"@context": ["https://w3id.org/ro/crate/1.1/context",
                                    "https://w3id.org/ro/terms/workflow-run/context"], "@graph": graph},
                      indent=2, ensure_ascii=False)  # fmt: skip
    with atomic_file(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, METADATA, text.encode())
        for name in progress(names, "packing", "file"):
            content = (root / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != files[name]["sha256"]:
                raise DataError(
                    f"{name} has just changed; wait until nothing runs here, then run the same command again"
                )
            _add(archive, name, content)
    return len(names)


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    # Without the time, equal files give equal archives.
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    archive.writestr(entry, content)


def _results(catalogue: Catalogue, root: Path) -> list[str]:
    """All that the scale has under `results/`: tables, figures, claims, report, and every plan and measurement."""
    results = f"results/{catalogue.scale}"
    made = [path for path in catalogue.artefacts if path.startswith(f"{results}/")]
    made += [path for one in catalogue.targets if one != "claims" for path in stamps.files_of(catalogue, one)]
    further = [*(path for one in ("claims", "report") for path in stamps.files_of(catalogue, one))]
    return sorted([*made, *(path for path in further if (root / path).is_file())])


def _file(path: Path, name: str) -> Entity:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    kind = _FORMATS.get(path.suffix) or mimetypes.guess_type(name)[0] or "text/plain"
    return {"@id": quote(name), "@type": "File", "name": name, "encodingFormat": kind,
            "contentSize": str(path.stat().st_size), "sha256": found}  # fmt: skip


def _graph(catalogue: Catalogue, files: Mapping[str, Entity], made: list[str], params: str, root: Path) -> list[Entity]:
    citation = yaml.safe_load((root / _CITATION).read_text(encoding="utf-8"))
    license_id = f"https://spdx.org/licenses/{citation['license']}"
    authors = [_person(author) for author in citation["authors"]]
    papers = [_paper(paper) for paper in citation.get("references", [])]
    times = [(root / name).stat().st_mtime for name in made]
    files[_WORKFLOW].update(
        {"@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"], "name": citation["title"],
         "programmingLanguage": _ref(_SNAKEMAKE), "version": dpmix.__version__, "license": _ref(license_id),
         "creator": _refs(authors), "softwareRequirements": _ref(quote(_LOCK)),
         "input": [_ref("#params"), _ref("#scale")]}
    )  # fmt: skip
    files[params]["exampleOfWork"] = _ref("#params")
    root_entity = {
        "@id": "./", "@type": "Dataset", "name": f"{citation['title']}: results of scale {catalogue.scale}",
        "description": f"Tables, figures and runs of the scale {catalogue.scale} of {params}, the workflow that made "
                       "them, and the versions of everything that it ran on.",
        "datePublished": _time(max(times))[:10], "license": _ref(license_id), "author": _refs(authors),
        "citation": _refs(papers), "conformsTo": [_ref(profile) for profile in _PROFILES],
        "mainEntity": _ref(quote(_WORKFLOW)), "mentions": _ref("#run"), "hasPart": _refs(files.values()),
    }  # fmt: skip
    run = {
        "@id": "#run", "@type": "CreateAction", "name": f"Run of {_WORKFLOW} at scale {catalogue.scale}",
        "instrument": _ref(quote(_WORKFLOW)), "object": [_ref(quote(params)), _ref("#scale-value")],
        "result": [_ref(quote(name)) for name in made],
        "startTime": _time(min(times)), "endTime": _time(max(times)),
        "actionStatus": _ref("http://schema.org/CompletedActionStatus"),
    }  # fmt: skip
    descriptor = {
        "@id": METADATA, "@type": "CreativeWork", "about": _ref("./"),
        "conformsTo": [_ref("https://w3id.org/ro/crate/1.1"), _ref(list(_PROFILES)[-1])],
    }  # fmt: skip
    parameters: list[Entity] = [
        {"@id": "#params", "@type": "FormalParameter", "additionalType": "File", "name": "configfile",
         "description": "All data sets, models, methods and grids of experiments"},
        {"@id": "#scale", "@type": "FormalParameter", "additionalType": "Text", "name": "scale",
         "description": "Which of the params' scales is run"},
        {"@id": "#scale-value", "@type": "PropertyValue", "name": "scale", "value": catalogue.scale,
         "exampleOfWork": _ref("#scale")},
    ]  # fmt: skip
    profiles = [
        {"@id": profile, "@type": "CreativeWork", "name": name, "version": version}
        for profile, (name, version) in _PROFILES.items()
    ]
    language = {"@id": _SNAKEMAKE, "@type": "ComputerLanguage", "name": "Snakemake",
                "identifier": _ref("https://doi.org/10.1093/bioinformatics/bts480"),
                "url": _ref("https://snakemake.github.io")}  # fmt: skip
    terms = {"@id": license_id, "@type": "CreativeWork", "name": citation["license"]}
    return [descriptor, root_entity, *files.values(), run, *parameters, language, *profiles, terms, *authors, *papers]


def _ref(identifier: str) -> Entity:
    return {"@id": identifier}


def _refs(entities: Iterable[Entity]) -> list[Entity]:
    return [_ref(entity["@id"]) for entity in entities]


def _person(author: Mapping[str, Any]) -> Entity:
    """A person or a body, as CITATION.cff has them."""
    if "name" in author:
        return {"@id": f"#{quote(author['name'])}", "@type": "Organization", "name": author["name"]}
    name = " ".join(author[part] for part in ("given-names", "family-names") if part in author)
    return {"@id": author.get("orcid", f"#{quote(name)}"), "@type": "Person", "name": name}


def _paper(paper: Mapping[str, Any]) -> Entity:
    names = [_person(author)["name"] for author in paper.get("authors", [])]
    title = paper["title"]
    return {
        "@id": paper.get("url", f"#{quote(title)}"),
        "@type": "ScholarlyArticle",
        "name": title,
        "creditText": f"{', '.join(names)}: {title}",
        "datePublished": str(paper.get("year", "")),
    }


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
