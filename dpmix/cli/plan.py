"""`dpmix plan`: what training on images of one's own, or tables and figures, will take, before anything runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpmix.cli.options import OPTIONS, options
from dpmix.errors import as_options

if TYPE_CHECKING:
    from dpmix.catalogue.catalogue import Catalogue
    from dpmix.costs.estimate import Estimate
    from dpmix.costs.operations import Costs
    from dpmix.costs.speed import Speed

_MEANING = {
    "runs": "models to train, gradient records included",
    "rates": "learning rates to choose on held-out training images",
    "distances": "Fréchet distances to measure",
    "jobs": "processes that do all this, zero-shot classification included",
    "streams": "passes over samples; methods on one encoder share theirs, a network from scratch has its own",
    "passes": "images through all models (k, M, G: thousands, millions, billions)",
    "GPU hours": "operations over the speed above",
    "disk": "downloads, decoded images, synthetic images and weights",
}
_COLUMNS = ("target", *_MEANING)
_KINDS = ("downloads", "images", "synthetic", "weights")


# The panel of its help for what is not about images of one's own.
_TABLES = "Tables and figures"


@options(
    "epsilon delta unit test_share key skip_damaged encoder side synthetic batch_size epochs ledger as_json scale "
    "targets gpu utilization throughput everything csv params more"
)
def plan(
    scale: Annotated[str | None, typer.Option(help="Of the params.", rich_help_panel=_TABLES)] = None,
    targets: Annotated[list[str] | None, typer.Option(help="One target.", rich_help_panel=_TABLES)] = None,
    gpu: Annotated[str, typer.Option(help="Whose peak counts.", rich_help_panel=_TABLES)] = "a100",
    utilization: Annotated[float, typer.Option(help="Share of it.", rich_help_panel=_TABLES)] = 0.4,
    throughput: Annotated[
        list[str] | None, typer.Option(help="Measured: MODEL=IMAGES/S or TFLOP/s.", rich_help_panel=_TABLES)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what is there.", rich_help_panel=_TABLES)] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the table here.", rich_help_panel=_TABLES)] = None,
    params: Annotated[Path, typer.Option(help="The params.", rich_help_panel=_TABLES)] = Path("params.yaml"),
    more: Annotated[list[str] | None, typer.Argument(help="Images, or table9 figure2 …", metavar="[WHAT]...")] = None,
    **shared: Any,
) -> None:
    """Say what training takes and spends: dpmix plan my-images --epsilon 4. Or, for names of tables, what they cost."""
    as_json = shared.pop("as_json")
    if images := _images(more, shared["epsilon"] is not None):
        _plan_images(images, shared, as_json)
        return
    from dpmix.catalogue.catalogue import Catalogue
    from dpmix.catalogue.release_splits import refuse_drawn_splits
    from dpmix.costs.estimate import estimates
    from dpmix.costs.operations import Costs
    from dpmix.costs.speed import speed
    from dpmix.params.read import read

    catalogue = Catalogue(read(params), scale)
    refuse_drawn_splits(catalogue)
    costs = Costs(catalogue)
    fast = speed(gpu, utilization, throughput or [], costs)
    wanted = [*(targets or []), *(more or [])]
    rows = estimates(catalogue, wanted or None, costs=costs, missing_only=not everything)
    what = "everything" if everything else "what is not on disk yet"
    typer.echo(f"Scale {catalogue.scale}, {what}. {_assumed(gpu, fast)}\n")
    table = [_COLUMNS, *(_row(row, fast, costs) for row in rows)]
    typer.echo("\n".join([*_aligned(table), "", *(f"{column}: {text}" for column, text in _MEANING.items())]))
    details = _details(rows[-1], fast, costs, catalogue.spec.bundle.gpus)
    for line in details + _beside_the_paper(catalogue, rows, gpu, fast, costs):
        typer.echo(line)
    if csv is not None:
        _write_csv(csv, rows, fast, costs)


def _images(what: "list[str] | None", for_images: bool) -> str | None:
    """The folder, archive or CSV file of images that is meant, if the first argument is one on disk.

    Args:
        what: all arguments.
        for_images: whether an option is given that no table has, so that a name that is not there is a slip.

    Raises:
        DataError: for a path that is none.
        ParamsError: for further arguments.
    """
    from dpmix.errors import DataError, ParamsError

    if not what:
        if for_images:
            raise ParamsError(
                "--epsilon is of private images, and none are named; give their folder first: dpmix plan my-images"
            )
        return None
    first, *more = what
    looks_like_a_path = "/" in first or Path(first).suffix.lower() in (".zip", ".csv", ".tsv", ".jsonl")
    if not Path(first).exists():
        if looks_like_a_path or for_images:
            raise DataError(f"{first} does not exist; name the folder, zip archive or CSV file of the private images")
        return None
    if more:
        raise ParamsError(f"{first} is a folder of images, and {more[0]} is one too many; plan one at a time")
    return first


def _plan_images(images: str, options: "dict[str, Any]", as_json: bool) -> None:
    import json

    from dpmix.own.training.plan import plan as plan_images

    found = plan_images(images, **options)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    else:
        typer.echo(as_options("\n".join(found.lines()), OPTIONS))


def _assumed(gpu: str, fast: "Speed") -> str:
    share = f"{100 * fast.utilization:g} %"
    stated = (
        f"Speed: {gpu}, {share} of its {fast.gpu.half:g} TFLOP/s in half precision, for networks from scratch "
        f"{share} of {fast.gpu.single:g}"
    )
    if fast.achieved is not None:
        stated = f"Speed: {fast.achieved:g} TFLOP/s"
    if fast.measured:
        stated += "; " + ", ".join(f"{model} {rate:g} images/s" for model, rate in fast.measured.items())
    return stated + "."


def _row(row: "Estimate", fast: "Speed", costs: "Costs") -> tuple[str, ...]:
    hours = sum(fast.hours(row, costs).values())
    counts = (row.runs, row.selections, row.distances, row.jobs, row.streams)
    return (row.target, *map(str, counts), _count(sum(row.passes.values())), _hours(hours), _bytes(row.disk))


def _details(row: "Estimate", fast: "Speed", costs: "Costs", gpus: int) -> list[str]:
    """Lines that break down the hours of the last row by model, and its bytes by kind."""
    hours = fast.hours(row, costs)
    lines: list[tuple[str, ...]] = [("model", "images", "GFLOP each", "images/s", "GPU hours")]
    for model, images in sorted(row.passes.items(), key=lambda item: -hours.get(item[0], 0)):
        if model not in hours:
            continue
        each = f"{row.flops[model] / images / 1e9:,.3g}" if images and model in row.flops else "-"
        rate = images / hours[model] / 3600 if hours[model] else 0
        lines.append((model, _count(images), each, f"{rate:,.4g}", _hours(hours[model])))
    made = ["", *_aligned(lines)] if len(lines) > 1 else []
    unknown = [model for model in row.passes if model not in hours]
    for model in unknown:
        made.append(
            f"Not counted: {_count(row.passes[model])} images of {model}; measure it and give --throughput "
            f"{model}=IMAGES_PER_SECOND"
        )
    if not gpus:
        made += [
            "",
            "This scale asks for no GPU: the hours are operations alone, without starting processes and training its "
            "own encoders and image generators.",
        ]
    if any(row.disk.values()):
        parts = ", ".join(f"{kind} {row.disk[kind] / 1e9:.1f}" for kind in _KINDS if row.disk.get(kind))
        made += ["", f"Disk of {row.target}, GB (synthetic images uncompressed): {parts}"]
    return made


def _beside_the_paper(
    catalogue: "Catalogue", rows: "list[Estimate]", gpu: str, fast: "Speed", costs: "Costs"
) -> list[str]:
    """For Table 13 at the paper's scale: the estimated time of one run of each method, and the time the paper gives."""
    from dpmix.artefacts.experiment import Experiment
    from dpmix.costs.speed import run_hours
    from dpmix.tables.published import published
    from dpmix.tables.text import duration

    if catalogue.scale != "paper" or "13" not in catalogue.spec.tables or "table13" not in [row.target for row in rows]:
        return []
    parts = []
    for cell in catalogue.cells("13"):
        printed = published("13").get(cell.row, cell.column)
        run = next((one for one in cell.artefacts if isinstance(one, Experiment)), None)
        if run is not None and printed is not None:
            counted = duration(60 * run_hours(run, fast, costs))
            parts.append(f"{cell.column[-1]} {counted} (the paper: {printed.text})")
    on = gpu if fast.achieved is None else "the given speed"
    return ["", f"One run of Table 13 on {on}, beside the paper's on one A100: {'; '.join(parts)}"] if parts else []


def _write_csv(path: Path, rows: "list[Estimate]", fast: "Speed", costs: "Costs") -> None:
    import csv
    import io

    from dpmix.files import write_text

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    counts = ("target", "runs", "learning_rates", "distances", "jobs", "streams")
    writer.writerow([*counts, "passes", "petaflop", "gpu_hours", *(f"{kind}_bytes" for kind in _KINDS)])
    for row in rows:
        hours = sum(fast.hours(row, costs).values())
        writer.writerow(
            [row.target, row.runs, row.selections, row.distances, row.jobs, row.streams]
            + [round(sum(row.passes.values())), f"{sum(row.flops.values()) / 1e15:.6g}", f"{hours:.6g}"]
            + [row.disk.get(kind, 0) for kind in _KINDS]
        )
    write_text(path, text.getvalue())


def _aligned(lines: "list[tuple[str, ...]]") -> list[str]:
    """Columns of equal width, the first to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if place else text.ljust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]


def _count(number: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.0f}"


def _hours(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 0.05 or not hours else f"{hours:.2g}"


def _bytes(disk: "dict[str, int]") -> str:
    return f"{sum(disk.values()) / 1e9:,.1f} GB"
