"""What a rehearsal has left on disk: tables, figures and runs, and how long each rule took."""

import json
import re
from pathlib import Path

from rehearsal.scale import NAME


class Failed(Exception):
    """Something that should have worked did not, or the other way round."""


def said_by(log: Path) -> str:
    """The error in a step's log.

    Raises:
        Failed: if it is more than a line, such as a traceback.
    """
    text = log.read_text(encoding="utf-8")
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    if "Traceback" in text or len(errors) > 1:
        raise Failed(f"{log} holds more than one line of error:\n{text[-2000:]}")
    return errors[0] if errors else ""


def check_results(folder: Path) -> dict[str, int]:
    """How many tables, figures, runs and other results there are.

    Raises:
        Failed: if a table holds no number, or there are none of one kind.
    """
    results = folder / "results" / NAME
    tables = sorted((results / "tables").glob("*.json"))
    cells = 0
    for path in tables:
        text = path.with_suffix(".md").read_text(encoding="utf-8")
        if not re.search(r"\d", text):
            raise Failed(f"{path.stem} holds no number")
        cells += len(json.loads(path.read_text(encoding="utf-8")).get("cells", []))
    page = (results / "report" / "index.html").read_text(encoding="utf-8")
    found = {
        "tables": len(tables),
        "cells": cells,
        "figures": len(list((results / "figures").glob("*.pdf"))),
        "runs": len(list(results.rglob("metrics.json"))),
        "distances": len(list((results / "fid").rglob("*.json"))),
        "kilobytes of report": len(page) // 1000,
    }
    if min(found.values()) == 0:
        raise Failed(f"something is missing: {found}")
    return found


def times(folder: Path) -> list[tuple[str, int, float, float]]:
    """For each rule its jobs, their seconds together, and the longest one's, from what Snakemake keeps of them."""
    spent: dict[str, list[float]] = {}
    for path in (folder / ".snakemake" / "metadata").rglob("*"):
        if not path.is_file():
            continue
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept.get("starttime") and kept.get("endtime"):
            rule = re.sub(r"-[0-9a-f]{8}$", "", kept["rule"])
            rule = re.sub(r"^(table|figure)_?\w+$", r"\1", rule)
            spent.setdefault(rule, []).append((kept["starttime"], kept["endtime"]))  # type: ignore[arg-type]
    rows = []
    for rule, ends in sorted(spent.items()):
        jobs = sorted(set(ends))  # one job writes many files at once
        rows.append((rule, len(jobs), sum(end - start for start, end in jobs), max(end - start for start, end in jobs)))
    return rows
