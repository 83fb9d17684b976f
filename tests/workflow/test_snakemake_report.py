"""Snakemake's own report: tables and claims under their categories, with captions, as catalogues of workflows ask."""

import zipfile
from pathlib import Path

import pytest

from tests.workflow.test_workflow import REDUCED, new_clone


@pytest.mark.slow
def test_a_finished_table_is_in_it_with_its_category_and_caption(tmp_path: Path, repository: Path) -> None:
    clone = new_clone(tmp_path / "clone", repository, REDUCED)
    clone("table12")
    clone("table12", "--report", "report.zip")
    with zipfile.ZipFile(clone.folder / "report.zip") as archive:
        names = archive.namelist()
        (table,) = [name for name in names if name.endswith("/table12.csv")]
        assert archive.read(table) == (clone.folder / "results/demo/tables/table12.csv").read_bytes()
        (page,) = [name for name in names if name.endswith("report.html")]
        text = archive.read(page).decode()
    title = "Mixing without any view of the private image"
    for wanted in ("Tables", title, "Table 12: one row for each cell", "at scale", "demo"):
        assert wanted in text, wanted
