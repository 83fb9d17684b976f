"""The benchmarks of methods that share a pass and seeds, `benchmarks.union`, `.crops` and `.paired`, and their page."""

import csv

import pytest

from benchmarks import crops, measure, paired, stream, union


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


def test_kept_crops_in_miniature(tmp_path, repository, monkeypatch):
    """As few images are encoded as are counted, and the line says both."""
    monkeypatch.chdir(repository)
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    size = stream.Size(examples=20, batch=2, steps=100, test=5, physical=20, architecture="tiny-vit")
    made = crops.cases(size)
    line = crops.run(size, rounds=1)
    shown = dict(part.split(" ", 1) for part in line.split("  ")[1:])
    assert float(shown["counted"]) == pytest.approx(made.counted, abs=1e-3)
    assert float(shown["images"]) == pytest.approx(made.counted, abs=0.02)
    assert 0.8 < made.counted < 0.9
    of = {row["case"]: row for row in rows_of(tmp_path, "crops-*.csv")}
    # An example has 51.6 views, in ten epochs.
    assert int(of[crops.ANEW]["images"]) == pytest.approx(20 * 10 * 51.6, rel=0.25)


def test_the_page_says_what_was_measured_of_one_pass(repository):
    page = (repository / "benchmarks" / "README.md").read_text(encoding="utf-8")
    rows = rows_of(repository / "benchmarks" / "results", "union-AMD*.csv")
    assert len(rows) == 4
    assert all(f"| {row['case']} | {float(row['seconds']):.1f} | {row['images']} |" in page for row in rows)
    seconds = {row["case"]: float(row["seconds"]) for row in rows}
    of_bare, of_folded, of_apart = (
        seconds[union.UNION] / seconds[case] for case in (union.BARE, union.FOLDED, union.ALONE)
    )
    said = " ".join(page.split())
    assert of_bare <= 1.10
    assert f"the encoder's bare forward pass: {of_bare:.2f}, reached" in said
    assert f"Beside the network so prepared it is {of_folded:.2f}:" in said
    assert f"The pass takes {of_apart:.2f} of the time of a pass for each method" in said


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
