"""Folders with spaces and signs of the shell, in a file of params whose own name has both: from images to a table."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dpmix.artefacts.data import EncoderModel, ImageStore, SyntheticSet, SyntheticStore
from dpmix.catalogue.catalogue import Catalogue
from dpmix.params.read import parse
from tests.test_build import params, world
from tests.workflow.test_workflow import Clone, new_clone

FILE = "my params & more.yaml"
PRIVATE, PUBLIC = "my 'own' $images", "public; {others}"


def named() -> dict[str, Any]:
    """Params of one run on these folders, with names of every letter that a name may have."""
    said = params()
    said["datasets"] = {"Ünder_score+1": said["datasets"]["mine"] | {"path": PRIVATE, "label": "{M} & “N” 100 %"}}
    said["models"]["eye"] |= {"images": PUBLIC}
    said["diffusion"] = {"given": {"images": PUBLIC}}
    scale = said["scales"]["demo"]
    scale |= {"synthetic_size": {"Ünder_score+1": 16}, "seeds": [1]}
    scale["tables"]["12"]["fixed"] |= {"dataset": "Ünder_score+1"}
    del scale["tables"]["12"]["ladder"]
    return said


@pytest.fixture
def clone(tmp_path: Path, repository: Path) -> Clone:
    """A clone with these images and params, in a folder whose name is of the same kind."""
    made = new_clone(tmp_path / "it's a clone & more", repository)
    world(made.folder)
    for name, other in (("mine", PRIVATE), ("d", PUBLIC)):
        (made.folder / name).rename(made.folder / other)
    (made.folder / "params.yaml").unlink()
    (made.folder / FILE).write_text(yaml.safe_dump(named(), allow_unicode=True), encoding="utf-8")
    return made


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_any_name_goes_through_every_rule(clone: Clone) -> None:
    catalogue = Catalogue(parse(named()))
    words = ("table12", "--until", "encoder", "synthetic_images", "--configfile", FILE)
    clone(*words)
    fetched = {catalogue.path(one) for kind in (ImageStore, EncoderModel, SyntheticStore) for one in catalogue.of(kind)}
    assert len(fetched) == 3
    assert all((clone.folder / path).is_file() for path in fetched)
    assert not (clone.folder / "results").exists()
    assert clone.planned(*words) == set()
    # And the rest, which makes none of these again.
    rest = clone.planned("table12", "--configfile", FILE)
    assert rest.isdisjoint({*fetched, *map(catalogue.path, catalogue.of(SyntheticSet))})
    clone("table12", "--configfile", FILE)
    assert (clone.folder / "results/demo/tables/table12.csv").is_file()
    assert all((clone.folder / path).is_file() for path in catalogue.artefacts)
