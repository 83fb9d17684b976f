"""`dpmix plan` from the outside: without network or anything on disk but the params."""

import csv
import re
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from dpmix.artefacts.data import ImageStore
from dpmix.artefacts.experiment import Experiment
from dpmix.catalogue.catalogue import Catalogue
from dpmix.cli.app import app
from dpmix.cli.plan import _count
from dpmix.costs.estimate import Estimate, estimates
from dpmix.costs.operations import Costs
from dpmix.costs.speed import GPUS, Speed
from dpmix.params.read import parse, read


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the params alone, on a machine without network."""
    (tmp_path / "params.yaml").write_text((repository / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def planned(*arguments: str) -> list[str]:
    shown = CliRunner().invoke(app, ["plan", *arguments])
    assert shown.exit_code == 0, shown.output
    return shown.output.splitlines()


def row(lines: list[str], target: str) -> list[str]:
    return next(line.split() for line in lines if line.split()[:1] == [target])


def test_tables_and_what_they_share(tmp_path: Path) -> None:
    lines = planned("--scale", "paper", "--targets", "table9", "table13", "--csv", "plans/cost.csv")
    assert "40 % of its 312 TFLOP/s" in lines[0]
    # 27 cells of three seeds and their learning rate; the head without noise, with its own; zero-shot is one more job.
    assert row(lines, "table9")[1:4] == ["84", "2", "0"]
    assert int(row(lines, "together")[1]) == 84 + 9
    assert any("DP-Mix_Self 29 min 42 s" in line and "(the paper: 7h 33min)" in line for line in lines)
    with Path("plans/cost.csv").open(encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [line["target"] for line in written] == ["table9", "table13", "together"]
    assert written[0]["runs"] == "84"
    assert float(written[0]["gpu_hours"]) == pytest.approx(float(row(lines, "table9")[8]), rel=0.02)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yaml", "plans"]


def test_a_faster_gpu_takes_less(tmp_path: Path) -> None:
    slow, fast = (planned("--scale", "paper", "table13", *more) for more in ([], ["--gpu", "h100"]))
    hours = [float(row(lines, "vit-b-16")[-1]) for lines in (slow, fast)]
    assert hours[0] / hours[1] == pytest.approx(989 / 312, rel=0.03)
    measured = planned("--scale", "paper", "table13", "--throughput", "vit-b-16=1000")
    assert "vit-b-16 1000 images/s" in measured[0]
    images = float(row(measured, "vit-b-16")[1]) * 1e6
    assert float(row(measured, "vit-b-16")[-1]) == pytest.approx(images / 1000 / 3600, rel=0.01)


def test_the_demo_asks_for_no_gpu() -> None:
    lines = planned("table12")
    assert any(line.startswith("This scale asks for no GPU") for line in lines)
    assert any(line.startswith("Not counted: 1.44 k images of tiny-diffusion; measure it") for line in lines)
    assert not any("the paper:" in line for line in lines)


def test_a_mistake_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from dpmix.cli import main

    monkeypatch.setattr("sys.argv", ["dpmix", "plan", "table99"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert str(caught.value) == "error: params.yaml: unknown target 'table99'; did you mean 'table9'?"


def test_a_target_that_stands_for_several_is_one_row() -> None:
    catalogue = Catalogue(read(Path("params.yaml")), "demo")
    tables = [target for target in catalogue.targets if target.startswith("table")]
    costs = Costs(catalogue)
    everything, of_tables = estimates(catalogue, costs=costs)[-1], estimates(catalogue, tables, costs=costs)[-1]
    for word, expected in (("report", everything), ("all", everything), ("all_tables", of_tables)):
        (found,) = estimates(catalogue, [word], costs=costs)
        assert found == replace(expected, target=word)
    assert of_tables.runs < everything.runs
    lines = planned("all_tables", "claims")
    assert row(lines, "all_tables")[1] == str(of_tables.runs)
    assert row(lines, "together")[1] == str(everything.runs)


def test_figures_of_a_scale_without_any_cost_nothing() -> None:
    raw: dict[str, Any] = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    demo = {**raw["scales"]["demo"], "figures": {}}
    catalogue = Catalogue(parse({**raw, "scales": {"demo": demo}, "scale": "demo"}))
    assert estimates(catalogue, ["all_figures"]) == [Estimate("all_figures")]


def test_a_folder_is_no_file_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dpmix.cli import main

    monkeypatch.setattr("sys.argv", ["dpmix", "plan", "table12", "--csv", "."])
    with pytest.raises(SystemExit) as caught:
        main()
    assert str(caught.value) == "error: cannot write .: it is a folder; name a file"


def test_what_is_on_disk_is_counted_again_on_request() -> None:
    catalogue = Catalogue(read(Path("params.yaml")), "demo")
    whole = row(planned("table12"), "table12")
    done = [one for cell in catalogue.cells("12") for one in cell.artefacts if isinstance(one, Experiment)]
    for artefact in [*catalogue.of(ImageStore), *done[:5]]:
        path = artefact.path("demo")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    left, everything = planned("table12"), planned("table12", "--all")
    assert left[0].startswith("Scale demo, what is not on disk yet. Speed: ")
    assert everything[0].startswith("Scale demo, everything. Speed: ")
    assert int(row(left, "table12")[1]) == int(whole[1]) - 5
    assert row(left, "table12") != whole == row(everything, "table12")


def test_what_is_written_is_what_is_counted(tmp_path: Path) -> None:
    """The file's columns against the estimates that the command shows."""
    planned("table12", "table1", "--csv", "cost.csv")
    catalogue = Catalogue(read(Path("params.yaml")), "demo")
    costs = Costs(catalogue)
    rows = estimates(catalogue, ["table12", "table1"], costs=costs)
    with Path("cost.csv").open(encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [line["target"] for line in written] == ["table12", "table1", "together"] == [one.target for one in rows]
    for line, one in zip(written, rows, strict=True):
        counts = ("runs", "learning_rates", "distances", "jobs", "streams")
        counted = [one.runs, one.selections, one.distances, one.jobs, one.streams]
        assert [int(line[name]) for name in counts] == counted
        assert int(line["passes"]) == round(sum(one.passes.values()))
        assert float(line["petaflop"]) == pytest.approx(sum(one.flops.values()) / 1e15, rel=1e-5)
        hours = sum(Speed(GPUS["a100"], 0.4).hours(one, costs).values())
        assert float(line["gpu_hours"]) == pytest.approx(hours, rel=1e-5)
        sizes = {kind: int(line[f"{kind}_bytes"]) for kind in ("downloads", "images", "synthetic", "weights")}
        assert sizes == {kind: one.disk.get(kind, 0) for kind in sizes}
        assert sizes["images"] > 0
    assert int(written[0]["learning_rates"]) > 0


def amount(text: str) -> float:
    """What `1.44 k` and `1,234.5` say."""
    number, _, letter = text.strip().replace(",", "").partition(" ")
    return float(number) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[letter]


def test_where_the_hours_and_bytes_of_the_last_row_come_from() -> None:
    """Of both targets together: each model's images, operations, speed and hours, and the bytes by kind."""
    lines = planned("--scale", "paper", "table1", "table13", "--gpu", "h100", "--utilization", "0.25",
                    "--throughput", "vit-b-16=1000")  # fmt: skip
    share = "25 % of its 989 TFLOP/s in half precision, for networks from scratch 25 % of 494"
    assert lines[0].endswith(f"Speed: h100, {share}; vit-b-16 1000 images/s.")
    catalogue = Catalogue(read(Path("params.yaml")), "paper")
    costs = Costs(catalogue)
    together = estimates(catalogue, ["table1", "table13"], costs=costs)[-1]
    hours = Speed(GPUS["h100"], 0.25, {"vit-b-16": 1000.0}).hours(together, costs)
    assert set(together.passes) == {"vit-b-16", "wrn-16-4", "stable-diffusion"} == set(hours)
    head = next(index for index, line in enumerate(lines) if line.startswith("model"))
    shown = {line.split()[0]: re.split(r"  +", line) for line in lines[head + 1 : head + 1 + len(hours)]}
    assert set(shown) == set(hours)
    for model, (_, images, each, rate, spent) in shown.items():
        assert amount(images) == pytest.approx(together.passes[model], rel=5e-3)
        assert amount(each) == pytest.approx(together.flops[model] / together.passes[model] / 1e9, rel=5e-3)
        assert amount(rate) == pytest.approx(together.passes[model] / hours[model] / 3600, rel=5e-4)
        assert amount(spent) == pytest.approx(hours[model], rel=0.01, abs=0.05)
    assert amount(row(lines, "together")[-3]) == pytest.approx(sum(hours.values()), rel=0.01)
    (line,) = [line for line in lines if line.startswith("Disk of together, GB")]
    said = {kind: float(size) for kind, size in re.findall(r"(\w+) ([\d.]+)(?:,|$)", line.partition(": ")[2])}
    assert said == pytest.approx({kind: size / 1e9 for kind, size in together.disk.items()}, abs=0.051)
    assert amount(row(lines, "together")[-2]) == pytest.approx(sum(together.disk.values()) / 1e9, abs=0.051)


def test_targets_are_named_in_two_ways() -> None:
    assert planned("--targets", "table12") == planned("table12")


@pytest.mark.parametrize(
    ("number", "text"), [(3, "3"), (999, "999"), (1437, "1.44 k"), (2_500_000, "2.5 M"), (7.1e9, "7.1 G")]
)
def test_counts_are_short(number: float, text: str) -> None:
    assert _count(number) == text


def test_every_column_is_explained_in_a_line() -> None:
    lines = planned("table12")
    header = next(line for line in lines if line.startswith("target "))
    columns = [column for column in re.split(r"\s{2,}", header) if column != "target"]
    assert len(columns) == 8
    explained = [line.partition(": ")[0] for line in lines if line.partition(": ")[0] in columns]
    assert explained == columns
