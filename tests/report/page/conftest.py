import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dpmix.report.page.build import build
from tests.report.made_runs import lay
from tests.report.page.window import QUIET


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> str:
    """The page of the demo: runs with numbers of their own, the claims and figures of the reference."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        catalogue = lay(folder, repository)
        reference = repository / "results" / "reference" / "demo"
        shutil.copytree(reference / "figures", "results/demo/figures")
        shutil.copy(reference / "claims.json", "results/demo")
        return build(Path("results/demo"), folder / "index.html", catalogue).as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
