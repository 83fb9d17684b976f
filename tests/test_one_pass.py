"""The benchmarks of methods that share a pass and seeds, `benchmarks.union` and `benchmarks.paired`, and their page."""

import csv

import pytest

from benchmarks import measure, paired, stream, union


def rows_of(folder, pattern):
    (path,) = folder.glob(pattern)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_union_in_miniature(tmp_path, repository, monkeypatch):
    """The four methods of Table 3 with their own settings: as many images pass as their union has."""
    monkeypatch.chdir(repository)
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    size = stream.Size(examples=6, batch=3, steps=2, test=5, physical=2, architecture="tiny-vit")
    made = union.cases(size)
    assert made.views == [1, 16, 32, 36]
    assert made.union == pytest.approx(51.6, abs=0.1)
    line = union.run(size, rounds=1)
    ratios = dict(part.split(" = ") for part in line.split("  ")[:2])
    assert list(ratios) == ["union/encoder", "apart/union"]
    assert line.endswith("  views 85 to 51.6")
    of = {row["case"]: row for row in rows_of(tmp_path, "union-*.csv")}
    together, apart = int(of[union.UNION]["images"]) - 5, int(of[union.ALONE]["images"]) - 4 * 5
    assert int(of[union.BARE]["images"]) == int(of[union.FOLDED]["images"]) == together + 5
    assert apart % 85 == 0
    assert together / (apart / 85) == pytest.approx(made.union, rel=0.05)
    assert len(union.heads(size)) == 40
    assert len({head.name for head in union.heads(size)}) == 4


def test_the_page_says_what_was_measured_of_one_pass(repository):
    page = (repository / "benchmarks" / "README.md").read_text(encoding="utf-8")
    rows = rows_of(repository / "benchmarks" / "results", "union-AMD*.csv")
    assert len(rows) == 4
    assert all(f"| {row['case']} | {float(row['seconds']):.1f} | {row['images']} |" in page for row in rows)
    seconds = {row["case"]: float(row["seconds"]) for row in rows}
    assert seconds[union.UNION] <= 1.10 * min(seconds[union.BARE], seconds[union.FOLDED])
    assert seconds[union.UNION] < 0.75 * seconds[union.ALONE]


def test_the_page_says_what_the_same_seeds_are_worth(repository):
    page = (repository / "benchmarks" / "README.md").read_text(encoding="utf-8").replace("−", "-")
    shown = [
        row for row in rows_of(repository / "benchmarks" / "results", "paired.csv") if row["encoder"] == "tiny-vit"
    ]
    assert len(shown) == 8
    for row in shown:
        cells = (row["difference"], row["paired error"], row["independent error"], row["correlation"])
        assert f"Tiny ViT | {row['ε']} | {' | '.join(cells)} |" in page
        assert float(row["paired error"]) < float(row["independent error"])


def test_the_errors_of_a_mean_difference():
    """Of seeds that move both alike nothing is left of the paired error; of independent ones, all."""
    shared = [(1.0, 3.0), (2.0, 4.0), (5.0, 7.0), (9.0, 11.0)]
    difference, correlation, paired_error, independent = paired.compare(shared)
    assert (difference, correlation, paired_error) == pytest.approx((2.0, 1.0, 0.0))
    variance = sum((one - 17 / 4) ** 2 for one, _ in shared) / 3
    assert independent == pytest.approx((2 * variance / 4) ** 0.5)
    crossed = [(0.0, 0.0), (0.0, 2.0), (2.0, 0.0), (2.0, 2.0)]
    assert paired.compare(crossed)[2] == pytest.approx(paired.compare(crossed)[3])
