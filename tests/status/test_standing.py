"""`status.standing` on what real calls have left."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.jobs import needed_for
from dpmix.params.read import read
from dpmix.status.records import Took
from dpmix.status.standing import Row, Standing, command, standing
from tests.status.conftest import copied, lay, standing_of
from tests.workflow.test_workflow import REDUCED, Clone, new_clone


def row(found: Standing, name: str) -> Row:
    (one,) = [row for row in found.rows if row.name == name]
    return one


def test_the_command_for_everything_is_the_documented_one(repository: Path) -> None:
    catalogue = Catalogue(read(repository / "params.yaml"))
    typed = command(catalogue, ["all"])
    assert f"\n{typed} " in (repository / "docs" / "use.md").read_text(encoding="utf-8")
    # It is what the default target makes.
    assert needed_for(catalogue, typed.split()[3:]) == needed_for(catalogue, [])


def test_a_params_file_whose_name_a_shell_would_part_is_quoted(repository: Path) -> None:
    catalogue = Catalogue(read(repository / "params.yaml"))
    typed = command(catalogue, ["table9"], "my params (2).yaml")
    assert shlex.split(typed) == ["snakemake", "--cores", "all", "--configfile", "my params (2).yaml", "--", "table9"]


def test_nothing_is_made_in_a_fresh_clone(tmp_path: Path, repository: Path) -> None:
    found = standing_of(new_clone(tmp_path / "clone", repository, REDUCED))
    assert row(found, "table2") == Row("table2", 0, 0, 0, 4, "none")
    assert (found.prepared.missing, found.together.missing) == (3, 7)
    assert (found.process, found.failures, found.seconds_left, found.unknown) == ("none", [], None, 7)
    assert found.goes_on == "snakemake --cores all all_tables all_figures report"


def test_a_finished_table_and_one_that_shares_its_runs(finished: Clone) -> None:
    found = standing_of(finished)
    assert row(found, "table12") == Row("table12", 2, 0, 0, 0, "made")
    assert row(found, "table2") == Row("table2", 2, 0, 0, 2, "none")
    assert found.prepared == Row("prepared", 2, 0, 0, 1)
    assert found.together == Row("together", 4, 0, 0, 3)
    assert (found.process, found.failures, found.unknown) == ("none", [], 0)
    assert found.goes_on == "snakemake --cores all table2"


def test_time_left_is_what_jobs_of_the_same_kind_took(finished: Clone) -> None:
    """Two runs and a plan are left; each run took a job of its own, and the one plan too."""
    means = []
    for kind in ("runs", "plans"):
        paths = [path for path in finished.catalogue().artefacts if f"/{kind}/" in path]
        paths = [path for path in paths if (finished.folder / path).exists()]
        starts = dict(_starts(finished.folder / ".snakemake" / "metadata"))
        seconds = [(finished.folder / path).stat().st_mtime - starts[path] for path in paths]
        means.append(sum(seconds) / len(seconds))
    runs, plans = means
    assert standing_of(finished).seconds_left == pytest.approx(2 * runs + plans, abs=0.1)


def _starts(folder: Path) -> list[tuple[str, float]]:
    import base64

    return [
        (base64.urlsafe_b64decode(path.name).decode(), json.loads(path.read_text())["starttime"])
        for path in folder.iterdir()
        if path.is_file()
    ]


def test_without_records_runs_tell_their_times_and_files_count_all_the_same(finished: Clone, tmp_path: Path) -> None:
    clone = copied(finished, tmp_path / "clone")
    shutil.rmtree(clone.folder / ".snakemake")
    found = standing_of(clone)
    took = [
        json.loads(path.read_bytes())["times"]["seconds"] for path in clone.folder.glob("results/demo/runs/**/*.json")
    ]
    assert len(took) == 2
    # Two runs are left, and a plan, which tells no time. The two that are done may have run at once.
    assert found.seconds_left is not None
    assert sum(took) / 2 <= found.seconds_left <= sum(took) + 1e-6
    assert found.unknown == 1
    assert found.together == standing_of(finished).together
    assert found.goes_on == "snakemake --cores all table2"


def test_other_params_make_a_table_outdated(finished: Clone, tmp_path: Path) -> None:
    clone = copied(finished, tmp_path / "clone")
    clone.edit("label: Self-Aug", "label: Self-Augmentation")
    assert row(standing_of(clone), "table12") == Row("table12", 2, 0, 0, 0, "outdated")


def test_a_failed_job_is_counted_by_its_runs_and_says_why(failed: Clone) -> None:
    found = standing_of(failed)
    assert row(found, "table2") == Row("table2", 2, 0, 2, 0, "none")
    assert row(found, "table12").shown == "made"
    assert len(found.failures) == 2
    missing = {path for path in failed.catalogue().artefacts if not (failed.folder / path).exists()}
    assert {path for failure in found.failures for path in failure.outputs} == missing
    for failure in (found.failures[0], found.failures[1]):
        assert failure.line.startswith("error: ")
        assert "data/images/digits-16px-" in failure.line
        assert failure.log is not None
        assert failure.line in failure.log.read_text(encoding="utf-8")
    assert found.process == "none"
    assert found.goes_on is not None
    assert found.goes_on.endswith("--cores 1 --keep-going table2")


def test_quiet_calls_and_lost_records_hide_no_failure(failed: Clone, tmp_path: Path) -> None:
    """`--quiet rules` keeps Snakemake from naming jobs that failed; their own logs do."""
    clone = copied(failed, tmp_path / "clone")
    shutil.rmtree(clone.folder / ".snakemake")
    found = standing_of(clone)
    assert row(found, "table2").failed == 2
    assert {failure.line for failure in found.failures} == {failure.line for failure in standing_of(failed).failures}


def test_a_run_is_running_while_it_is_and_missing_when_all_was_killed(killed: tuple[Clone, Standing]) -> None:
    clone, before = killed
    assert before.process == "running"
    assert row(before, "table2") == Row("table2", 2, 1, 0, 1, "none")
    after = standing_of(clone)
    assert after.process == "locked"
    assert row(after, "table2") == Row("table2", 2, 0, 0, 2, "none")
    assert after.failures == []
    assert after.goes_on is not None
    assert after.goes_on.endswith("--cores 1 table2")


def test_the_papers_scale(repository: Path, tmp_path: Path) -> None:
    catalogue = Catalogue(read(repository / "params.yaml"), "paper")
    found = standing(catalogue, tmp_path, "params.yaml")
    assert [row.name for row in found.rows] == list(catalogue.targets)
    assert found.together == Row("together", 0, 0, 0, len(catalogue.artefacts))
    assert found.goes_on == (
        "snakemake --cores all --configfile params.yaml --config scale=paper -- all_tables all_figures report"
    )


def test_jobs_that_ran_beside_each_other_make_the_time_left_shorter(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = lay(tmp_path, repository, "table12")
    runs = [path for path in sorted(catalogue.artefacts) if "/runs/" in path and (tmp_path / path).exists()]
    assert len(runs) == 2

    def left(*starts: float) -> float | None:
        """Seconds for Table 2's two missing runs, where each of Table 12's took ten, from these moments on."""
        jobs = [Took((path,), start, start + 10.0) for path, start in zip(runs, starts, strict=True)]
        monkeypatch.setattr("dpmix.status.standing.took", lambda *_: jobs)
        return standing(catalogue, tmp_path).seconds_left

    assert left(0.0, 10.0) == pytest.approx(20.0)
    assert left(0.0, 0.0) == pytest.approx(10.0)
    assert left(0.0, 5.0) == pytest.approx(15.0)
