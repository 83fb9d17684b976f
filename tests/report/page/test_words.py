from pathlib import Path

from dpmix.report.page.words import progress
from dpmix.status.failures import Failure
from dpmix.status.standing import Row, Standing


def standing(together: Row, **changes: object) -> Standing:
    values = {"rows": [], "prepared": Row("prepared", 0, 0, 0, 0), "failures": [], "process": "none", "goes_on": None,
              "seconds_left": None, "unknown": 0}  # fmt: skip
    return Standing(together=together, **{**values, **changes})


def test_a_finished_scale_says_so_and_asks_for_nothing() -> None:
    found = progress(standing(Row("together", 1234, 0, 0, 0), goes_on="snakemake all"))
    assert found.words == "All 1,234 files of data, models and runs are done"
    assert (found.goes_on, found.time, found.failures) == ("", "", ())


def test_one_that_is_not_says_what_is_left_how_long_and_how_to_go_on() -> None:
    failures = [Failure(("a",), "error: first", Path("logs/a.log")), Failure(("b",), "error: last", None)]
    found = progress(
        standing(
            Row("together", 10, 2, 3, 5),
            failures=failures,
            goes_on="snakemake --cores 2 all",
            seconds_left=600.0,
            unknown=2,
        )
    )
    assert found.parts == (("done", 10), ("running", 2), ("failed", 3), ("missing", 5))
    assert found.words == "Of 20 files of data, models and runs: 10 done, 2 running, 3 failed, 5 missing"
    assert (found.lead, found.goes_on) == ("Go on", "snakemake --cores 2 all")
    assert found.time == (
        "Time left: about 10 min, by what finished jobs took; 2 missing files are of kinds of which none is done yet."
    )
    assert found.failures == (("error: last", ""), ("error: first", "logs/a.log"))


def test_while_it_runs_the_command_is_for_afterwards() -> None:
    found = progress(standing(Row("together", 1, 1, 0, 0), process="running", goes_on="snakemake all"))
    assert found.lead == "When it has ended"
