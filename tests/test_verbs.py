"""The benchmark of `dpmix train`, on a few drawn images."""

import csv
import sys

import pytest

from benchmarks import measure, verbs
from tests.own.drawn import draw


@pytest.mark.slow
def test_the_time_of_a_run_is_measured_and_nothing_is_left(tmp_path, monkeypatch):
    images = draw(tmp_path / "colours", 15, classes=2)
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["verbs", str(images)])
    verbs.main()
    (table,) = (tmp_path / "results").iterdir()
    with table.open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["classes"] == "2"
    assert 15 < int(row["N"]) < 30
    assert float(row["seconds"]) > 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["colours", "results"]
