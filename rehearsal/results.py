"""What a rehearsal has left on disk: tables, figures and runs, and how long each rule took."""

import json
import re
import time
from pathlib import Path

from rehearsal.scale import NAME

# Lines of a log of Snakemake.
_MOMENT = re.compile(r"\[(\w{3} \w{3} [ \d]\d [\d:]{8} \d{4})\]")
_RULE = re.compile(r"(?:local)?rule (\S+):")
_JOB = re.compile(r" +jobid: (\d+)")
_FINISHED = re.compile(r"Finished jobid: (\d+) ")


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
    """For each rule its jobs, their seconds together, and the longest one's, from Snakemake's logs.

    A job's seconds are those from when Snakemake started or submitted it to when it knew that it had finished.
    """
    spent: dict[str, list[float]] = {}
    for path in sorted((folder / ".snakemake" / "log").glob("*.log")):
        started: dict[str, tuple[str, float]] = {}
        now, rule = 0.0, ""
        for line in path.read_text(encoding="utf-8").splitlines():
            if found := _MOMENT.fullmatch(line):
                now = time.mktime(time.strptime(found[1]))
            elif found := _RULE.fullmatch(line):
                rule = re.sub(r"^(table|figure)_?\w+$", r"\1", re.sub(r"-[0-9a-f]{8}$", "", found[1]))
            elif found := _JOB.fullmatch(line):
                started[found[1]] = rule, now
            elif (found := _FINISHED.match(line)) and found[1] in started:
                of, since = started.pop(found[1])
                spent.setdefault(of, []).append(now - since)
    return [(rule, len(some), sum(some), max(some)) for rule, some in sorted(spent.items())]
