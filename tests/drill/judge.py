"""What counts as right after harm: the same tables, or one line with a remedy that works."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from .place import Done, Place

IDENTICAL, REFUSED, FAILED = "identical", "refused in one line", "failed"


def content(results: Path) -> dict[str, bytes]:
    """What a scale's tables, claims and runs hold, by their paths.

    Left out are times, which no two runs share, and how many methods had one pass: a run made again has its own.
    """
    found = {}
    for path in sorted((*results.glob("tables/*"), *results.glob("claims.*"), *results.rglob("metrics.json"))):
        # Table 13 shows times.
        if path.name.startswith(".") or path.stem == "table13":
            continue
        text = path.read_bytes()
        if path.name == "metrics.json":
            values = json.loads(text)
            values.pop("times", None)
            values.get("execution", {}).pop("methods", None)
            values.pop("sha256", None)  # of these values themselves
            text = json.dumps(values).encode()
        found[path.relative_to(results).as_posix()] = text
    return found


def differences(found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> list[str]:
    """What is another, missing, or more than expected."""
    names = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    return [f"{name}{_entries(found.get(name, b''), expected.get(name, b''))}" for name in names]


def _entries(found: bytes, expected: bytes) -> str:
    """Of two JSON objects, the entries in which they differ."""
    try:
        one, other = json.loads(found), json.loads(expected)
        return f" ({', '.join(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))})"
    except (ValueError, AttributeError):
        return ""


def lines(output: str) -> list[str]:
    """The error lines in what a call wrote, each once: Snakemake shows a job's own and may show its log."""
    said = (line.strip() for line in output.splitlines())
    return list(dict.fromkeys(line for line in said if line.startswith("error: ")))


def in_one_line(done: Done) -> bool:
    """Whether a call that failed said why in one line."""
    return done.status != 0 and len(lines(done.output)) == 1 and "Traceback (most recent call last)" not in done.output


def remedy(said: str, folder: Path) -> list[Path]:
    """What an error line says to delete, of what is there and in the folder."""
    what = re.search(r"; (?:.*, or )?delete (.+?)(?: and run the same| and make|$)", said)
    if what is None:
        return []
    named = [folder / one for one in what[1].split(" and ")]
    if re.match(r"it(?![\w./-])", what[1]):
        words = (folder / word.strip(":") for word in said.removeprefix("error: ").split())
        named = [path for path in words if path != folder and path.is_relative_to(folder) and path.exists()][:1]
    return [path for path in named if path.is_relative_to(folder) and path.exists()]


def judge(place: Place, command: str, expected: Mapping[str, bytes]) -> tuple[str, str]:
    """Run a command once, and once more if it refuses and says what to delete.

    Args:
        place: the checkout that was harmed.
        command: as the README has it.
        expected: the content of a checkout that was not.

    Returns:
        `IDENTICAL`, `REFUSED` or `FAILED`, and the line or what is wrong.
    """
    try:
        done, said = place.run(command), ""
        if done.status and not in_one_line(done):
            return FAILED, why(done)
        if done.status:
            (said,) = lines(done.output)
            for path in remedy(said, place.folder):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            done = place.run(command)
            if done.status:
                return FAILED, f"what it says to do does not help: {said}, then {why(done)}"
    except TimeoutError as error:
        return FAILED, str(error)
    try:
        wrong = differences(content(place.results), expected)
    except ValueError as error:
        return FAILED, f"a run is no JSON: {error}"
    if wrong:
        return FAILED, f"not as before: {', '.join(wrong)}"
    return (REFUSED, said.replace(str(place.folder), ".")) if said else (IDENTICAL, "")


def why(done: Done) -> str:
    """The most telling line of what a failed call wrote."""
    said = [line.strip() for line in done.output.splitlines() if line.strip()]
    telling = [line for line in said if re.search(r"(error|exception)\b", line, re.IGNORECASE)]
    return f"status {done.status}: {' / '.join((telling or said[-1:])[:3])}"[:400]
