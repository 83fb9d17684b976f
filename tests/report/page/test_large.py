"""The page of 10,000 runs: written within 10 s, at most 15 MB, and a browser has it ready within a second.

Times are those of the processor, as other processes may run beside.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.needs import CHROMIUM, needs
from tests.processor_time import of_children
from tests.report.made_runs import lay
from tests.report.page.window import QUIET
from tests.workflow.test_workflow import environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SECONDS = 10


@dataclass(frozen=True)
class Written:
    """A page, how many runs it is of, and the seconds of processor time that it took."""

    page: Path
    runs: int
    seconds: float


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Written:
    """The report of the paper's tables with 27 seeds, every run done."""
    folder, given = tmp_path_factory.mktemp("large"), tmp_path_factory.mktemp("given")
    text = (repository / "params.yaml").read_text(encoding="utf-8")
    seeds = f"seeds: [{', '.join(map(str, range(1, 28)))}]"
    (given / "params.yaml").write_text(re.sub(r"seeds: \[1, 2, 3(, 4, 5)?\]", seeds, text), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        lay(folder, given, scale="paper")
    runs = len(list(folder.glob("results/paper/runs/**/metrics.json")))
    command = [sys.executable, "-m", "dpmix", "report", "--scale", "paper"]
    took: list[float] = []
    while len(took) < 3 and not (took and min(took) <= SECONDS):  # a processor is slower where others share its core
        before = of_children()
        subprocess.run(command, check=True, cwd=folder, env=environment(repository), capture_output=True)
        took.append(of_children() - before)
    return Written(folder / "results" / "paper" / "report" / "index.html", runs, min(took))


def test_the_report_of_ten_thousand_runs_takes_at_most_ten_seconds_and_15_mb(written: Written) -> None:
    text = written.page.read_text(encoding="utf-8")
    assert written.runs > 10_000
    assert len(set(re.findall(r"results/paper/runs/[\w/.-]+/metrics\.json", text))) == written.runs
    assert written.page.stat().st_size <= 15_000_000
    assert written.seconds <= SECONDS


@needs(CHROMIUM, shutil.which("chromium") is not None)
def test_a_browser_has_it_ready_within_a_second(written: Written) -> None:
    from playwright.sync_api import sync_playwright

    took = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
        for _ in range(3):
            with browser.new_context(viewport={"width": 1280, "height": 900}) as window:
                page = window.new_page()
                page.set_default_timeout(240_000)
                session = window.new_cdp_session(page)
                session.send("Performance.enable", {"timeDomain": "threadTicks"})
                page.goto(written.page.as_uri(), wait_until="domcontentloaded")
                page.wait_for_function("document.documentElement.dataset.ready !== undefined")
                metrics = session.send("Performance.getMetrics")["metrics"]
                took.append(next(one["value"] for one in metrics if one["name"] == "ThreadTime"))
    assert min(took) <= 1, took
