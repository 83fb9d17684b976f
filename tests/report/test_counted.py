"""The counted limit of a time: operations at the published peak of the GPU that was used, or of the paper's."""

from pathlib import Path

import pytest

from dpmix.artefacts.experiment import Experiment
from dpmix.costs.operations import Costs
from dpmix.costs.speed import GPUS, Speed, run_hours
from dpmix.report.charts.choose import picture
from dpmix.report.counted import Limits, gpu_of
from dpmix.report.data import collect
from dpmix.report.page.build import page
from dpmix.tables.published import published
from tests.report.made_runs import lay


@pytest.mark.parametrize(
    ("hardware", "gpu"),
    [
        ("NVIDIA A100-SXM4-80GB", "a100"), ("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H200", "h200"), ("Tesla V100-PCIE-16GB", "v100"), ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA RTX A6000", "a6000"), ("NVIDIA L40S", "l40s"), ("Tesla T4", "t4"), ("NVIDIA A10G", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None), ("NVIDIA GeForce RTX 3090 Ti", None), ("an abacus", None),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz, 2 cores", None),
    ],
)  # fmt: skip
def test_a_gpu_is_known_by_what_its_driver_calls_it(hardware: str, gpu: str | None) -> None:
    assert gpu_of(hardware) == gpu
    assert gpu is None or gpu in GPUS


def test_a_time_of_table_13_stands_beside_the_papers_and_the_counted_limit(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On hardware that nobody knows: the limit of the paper's GPU, at its whole peak."""
    monkeypatch.chdir(tmp_path)
    catalogue = lay(tmp_path, repository, "13", scale="paper")
    report = collect(Path("results/paper"), catalogue)
    (data,) = [data for data in report.tables if data.table.name == "13"]
    costs = Costs(catalogue)
    runs = [next(one for one in cell.artefacts if isinstance(one, Experiment)) for cell in catalogue.cells("13")]
    wanted = [60 * run_hours(run, Speed(GPUS["a100"], 1.0), costs) for run in runs]
    limits = [one.limit for one in data.cells]
    assert [limit and limit.minutes for limit in limits] == pytest.approx(wanted)
    assert {limit and limit.gpu for limit in limits} == {"a100"}
    papers = [one.cell.paper.mean for one in data.cells if one.cell.paper is not None]
    assert len(papers) == len(limits) == 3
    assert all(limit and mean and 0 < limit.minutes < mean for limit, mean in zip(limits, papers, strict=True))
    chart = picture(data)
    assert chart is not None
    rows = chart.spec["data"]["values"]
    assert {row["line"]: row["limit"] for row in rows} == pytest.approx(
        {row["line"]: minutes / 60 for row, minutes in zip(rows, wanted, strict=True)}, rel=1e-4
    )  # in hours, as the paper's times are
    printed = {cell.column: published("13").get(cell.row, cell.column) for cell in catalogue.cells("13")}
    minutes = sorted(one.mean for one in printed.values() if one is not None and one.mean is not None)
    assert sorted(row["paper"] * 60 for row in rows) == pytest.approx(minutes, rel=1e-4)
    assert "running time (h)" in str(chart.spec)
    assert "published peak of A100" in page(report, Path("results/paper"), Path("index.html"))


def test_the_limit_is_that_of_the_gpu_that_was_used_and_of_none_where_none_is_known(repository: Path) -> None:
    from dpmix.catalogue.catalogue import Catalogue
    from dpmix.params.read import read

    catalogue = Catalogue(read(repository / "params.yaml"), "demo")
    run = next(one for one in catalogue.cells("13")[0].artefacts if isinstance(one, Experiment))
    limits = Limits(catalogue)
    fast, slow = limits.of(run, ["NVIDIA H100 PCIe"], printed=False), limits.of(run, ["Tesla T4"], printed=True)
    assert fast is not None
    assert slow is not None
    assert (fast.gpu, slow.gpu) == ("h100-pcie", "t4")
    assert slow.minutes / fast.minutes == pytest.approx(756 / 65)
    assert limits.of(run, ["an abacus"], printed=False) is None
    mixed = limits.of(run, ["Tesla T4", "NVIDIA H200"], printed=True)
    assert mixed is not None
    assert mixed.gpu == "a100"
