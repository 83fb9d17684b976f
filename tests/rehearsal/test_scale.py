"""The scale that is rehearsed is the paper's: every cell of every table, of the same data sets, models and methods."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ruamel.yaml import YAML

from dpmix.catalogue.catalogue import Catalogue
from dpmix.files import write_text
from dpmix.params.read import read
from rehearsal.archives import Made
from rehearsal.results import Failed, said_by
from rehearsal.scale import NAME, PAPER, rehearsed

INCEPTION = {"url": "http://127.0.0.1:1/inception.pth", "sha256": "0" * 64}


@pytest.fixture(scope="module")
def params(repository: Path) -> dict[str, Any]:
    return YAML(typ="safe").load((repository / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def pair(
    params: dict[str, Any], made: dict[str, Made], repository: Path, tmp_path: Path
) -> tuple[Catalogue, Catalogue]:
    text = yaml.safe_dump(rehearsed(params, made, "http://127.0.0.1:1", INCEPTION), sort_keys=False)
    write_text(tmp_path / "params.yaml", text)
    return Catalogue(read(repository / "params.yaml"), PAPER), Catalogue(read(tmp_path / "params.yaml"), NAME)


def test_no_table_figure_or_cell_is_left_out(pair: tuple[Catalogue, Catalogue]) -> None:
    paper, rehearsal = pair
    assert list(rehearsal.targets) == list(paper.targets)
    for name in paper.spec.tables:
        cells = [[cell.row for cell in one.cells(name)] for one in pair]
        assert cells[0] == cells[1], name
    assert {one.architecture for one in rehearsal.params.models.values() if one.kind == "encoder"} == {
        "ViT-B-16", "convnext_base_w",
    }  # fmt: skip


def test_architectures_and_resolutions_are_the_papers(pair: tuple[Catalogue, Catalogue]) -> None:
    paper, rehearsal = pair
    assert rehearsal.params.models
    for name, model in rehearsal.params.models.items():
        assert model == paper.params.models[name]


def test_results_of_the_rehearsal_are_never_the_papers(pair: tuple[Catalogue, Catalogue]) -> None:
    """Not even stores, weights and sets of images, which no scale has to itself."""
    from dpmix.artefacts.data import ImageStore, InceptionWeights, SyntheticSet

    for kind in (ImageStore, InceptionWeights, SyntheticSet):
        paper, rehearsal = ({catalogue.path(one) for one in catalogue.of(kind)} for catalogue in pair)
        assert paper
        assert rehearsal
        assert not paper & rehearsal


def test_a_log_with_a_traceback_is_no_clear_line(tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    for text, said in (
        ("working\nerror: the disk is full; free some\n", "error: the disk is full; free some"),
        ("", ""),
    ):
        write_text(log, text)
        assert said_by(log) == said
    for text in ("Traceback (most recent call last):\nerror: no\n", "error: one\nerror: two\n"):
        write_text(log, text)
        with pytest.raises(Failed, match="more than one line of error"):
            said_by(log)


def test_the_page_says_how_many_images_there_are(repository: Path, made: dict[str, Made]) -> None:
    images = sorted({one.train + one.test for one in made.values()})
    classes = [one.classes for one in made.values()]
    text = (repository / "docs" / "rehearsal.md").read_text(encoding="utf-8")
    assert f"{' or '.join(map(str, images))} drawn images each, of {min(classes)} to {max(classes)} classes" in text
