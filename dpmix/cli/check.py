"""`dpmix check`: whether a folder of private images, or a params file, is fit to train on."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dpmix.cli.options import OPTIONS
from dpmix.data.sides import KEY, TEST_SHARE
from dpmix.errors import ParamsError, as_options

if TYPE_CHECKING:
    from dpmix.own.images.check import Report

_SHOWN = 20


def check(
    images: Annotated[
        Path | None, typer.Argument(help="Folder, zip archive or CSV of private images; without it, --params.")
    ] = None,
    unit: Annotated[
        Literal["image", "person"], typer.Option(help="Whom ε is to protect; person needs class/person/image or a CSV.")
    ] = "image",
    test_share: Annotated[float, typer.Option(help="Share of test images, if no split is given.")] = TEST_SHARE,
    key: Annotated[str, typer.Option(help="Public key by which such a split is drawn.")] = KEY,
    skip_damaged: Annotated[bool, typer.Option("--skip-damaged", help="Leave out images that cannot be read.")] = False,
    no_alike: Annotated[bool, typer.Option("--no-alike", help="Compare no image with others.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the report here, too.")] = None,
    params: Annotated[Path | None, typer.Option(help="Check a params file instead.")] = None,
) -> None:
    """Find what is damaged, doubled, rare or skipped among private images, before training; or check a params file.

    Example: dpmix check my-images/

    The exit status is 1 if something must be mended first. Nothing leaves this machine.
    """
    if images is None:
        return _check_params(params or Path("params.yaml"))
    if params is not None:
        raise ParamsError(f"both {images} and --params {params} are given; check one at a time")
    if images.suffix in (".yaml", ".yml"):
        raise ParamsError(f"{images} is a params file; write --params {images}")
    from dpmix.data.listing import read_listing
    from dpmix.files import write_json
    from dpmix.own.images.check import as_json, examine

    listing = read_listing(images, persons=unit == "person", test_share=test_share, key=key)
    report = examine(listing, unit=unit, alike=not no_alike, leave_out_damaged=skip_damaged)
    mend, warnings = (tuple(as_options(one, OPTIONS) for one in said) for said in (report.mend, report.warnings))
    report = replace(report, mend=mend, warnings=warnings)
    if json is not None:
        write_json(json, as_json(report))
    typer.echo("\n".join(_lines(images, report)))
    if report.mend:
        raise typer.Exit(1)


def _lines(images: Path, report: "Report") -> list[str]:
    from dpmix.wording import counted

    listing = report.listing
    persons = f" of {counted(len(listing.persons('train')), 'person')}" if listing.persons("train") else ""
    lines = [
        f"{images}: {len(listing.of('train')):,} training images{persons} and {len(listing.of('test')):,} test images "
        f"of {len(listing.classes):,} {'class' if len(listing.classes) == 1 else 'classes'}; the split is "
        f"{listing.split}.",
        "",
        *_table(report),
    ]
    if litter := sum("operating system" in one.why for one in listing.skipped):
        lines += ["", f"Skipped: {counted(litter, 'file')} that an operating system left there."]
    for title, sentences in (("Mend before training:", report.mend), ("Worth knowing:", report.warnings)):
        if sentences:
            lines += ["", title, *(f"- {sentence}" for sentence in sentences)]
    if not report.mend and not report.warnings:
        lines += ["", "Nothing to mend."]
    return [
        *lines,
        "",
        "Nothing left this machine. This report reads private images without noise, and ε does not cover it: show it "
        "to nobody who may not see the images.",
    ]


def _table(report: "Report") -> list[str]:
    """The classes with their numbers of images; of many classes those with the fewest training images."""
    rows = list(report.counts.items())
    more = len(rows) - _SHOWN
    if more > 0:
        rows = sorted(sorted(rows, key=lambda row: row[1][0])[:_SHOWN])
    width = max(5, *(len(name) for name, _ in rows))
    lines = [f"{'class':{width}}  {'train':>7}  {'test':>7}"]
    lines += [f"{name:{width}}  {train:>7,}  {test:>7,}" for name, (train, test) in rows]
    return [*lines, f"and {more:,} classes with more images"] if more > 0 else lines


def _check_params(params: Path) -> None:
    """Check a params file at every scale and say what each asks for."""
    from dpmix.artefacts.experiment import Experiment, Selection
    from dpmix.artefacts.measurements import Distance
    from dpmix.catalogue.catalogue import Catalogue
    from dpmix.catalogue.release_splits import refuse_drawn_splits
    from dpmix.params.models import EncoderSpec
    from dpmix.params.read import read
    from dpmix.wording import counted

    parsed = read(params)
    for model in parsed.models.values():
        if isinstance(model, EncoderSpec):
            model.library.check(model)
    for scale in parsed.scales:
        catalogue = Catalogue(parsed, scale)
        refuse_drawn_splits(catalogue)
        rates = counted(len(catalogue.of(Selection)), "learning rate")
        counts = (
            counted(len(catalogue.spec.tables), "table"),
            counted(len(catalogue.of(Experiment)), "run"),
            f"{rates} to choose",
            counted(len(catalogue.of(Distance)), "distance"),
        )
        chosen = " (chosen)" if scale == parsed.scale else ""
        typer.echo(f"{scale}{chosen}: {', '.join(counts)}")
