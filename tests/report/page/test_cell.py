"""What a cell opens, where one of its runs is missing: each seed has its own number, and the strip its interval."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from dpmix.report.page.build import build
from tests.needs import CHROMIUM, needs
from tests.report.made_runs import lay
from tests.report.made_up import payload_of
from tests.report.page.window import Opened

pytestmark = [pytest.mark.slow, needs(CHROMIUM, shutil.which("chromium") is not None)]


def test_a_cell_of_which_a_run_is_missing_gives_each_seed_its_own_number(
    browser: Any, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    catalogue = lay(tmp_path, repository, "12")
    Path(catalogue.path(catalogue.cells("12")[0].artefacts[0])).unlink()
    page = build(Path("results/demo"), tmp_path / "index.html", catalogue)
    cell = payload_of(page.read_text(encoding="utf-8"))["tables"]["table12"]["cells"][0]
    second, third = (f"{value:.2f}" for value in cell["values"])
    low, high = (f"{value:.2f}" for value in cell["interval"])
    assert len({second, third, low, high}) == 4
    with Opened(browser, f"{page.as_uri()}#?cell=table12/0") as opened:
        lines = opened.page.locator("dialog tbody tr").all()
        said = [line.locator("th, td").all_inner_texts() for line in lines]
        assert [(line[0], line[1], line[-1]) for line in said] == [
            ("1", "–", "missing"), ("2", second, "done"), ("3", third, "done"),
        ]  # fmt: skip
        label = opened.page.locator("dialog .strip").get_attribute("aria-label")
        assert label.startswith(f"Seeds {second}, {third}; mean ")
        assert label.endswith(f"; 95 % interval {low} to {high}")
        # What its runs have in common is that of one that is done, and not of the first, which has no record.
        words = opened.page.locator("dialog").inner_text()
        assert "not at an end of its grid" in words
        assert "Rényi DP (RDP)" in words
