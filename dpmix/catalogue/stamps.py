"""Stamps: what a table, a figure, the claims or the report was made of, and so whether it still shows what is on disk.

A stamp's name says what the target is to show (`Catalogue.fingerprint`), so that other params are another stamp. It
holds the digests of the files that were written and of those that they show. A table that was edited, restored from
elsewhere, or made from other runs than those on disk has none that fits.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.jobs import shown_by
from dpmix.errors import DataError
from dpmix.seals import file_digest, read_record, write_record

TABLE_FILES, FIGURE_FILES, CLAIM_FILES = ("csv", "md", "tex", "json"), ("png", "pdf", "csv"), ("md", "json")


def files_of(catalogue: Catalogue, target: str) -> list[str]:
    """The paths of the files that are written for a table, a figure, the `claims` or the `report`."""
    results = f"results/{catalogue.scale}"
    if target == "report":
        return [f"{results}/report/index.html"]
    if target == "claims":
        return [f"{results}/claims.{kind}" for kind in CLAIM_FILES]
    room, kinds = ("tables", TABLE_FILES) if target in catalogue.tables else ("figures", FIGURE_FILES)
    return [f"{results}/{room}/{target}.{kind}" for kind in kinds]


def sources_of(catalogue: Catalogue, target: str) -> list[str]:
    """The paths of what it shows: results, and for the report the files of all other targets."""
    if target == "report":
        return [path for one in catalogue.targets for path in files_of(catalogue, one)]
    return sorted(set(map(catalogue.path, catalogue.targets[target])))


def stamp_of(catalogue: Catalogue, target: str) -> str:
    """The path of its stamp."""
    return f"results/{catalogue.scale}/stamps/{target}-{catalogue.fingerprint(target)}"


def remove(catalogue: Catalogue, target: str) -> None:
    """Delete its stamps, those of earlier params too, and of no other target whose name begins with its own."""
    stamp = Path(stamp_of(catalogue, target))
    for path in stamp.parent.glob(f"{target}-{'?' * len(catalogue.fingerprint(target))}"):
        path.unlink(missing_ok=True)


def write(catalogue: Catalogue, target: str, root: Path = Path()) -> None:
    """Write its stamp, once its files are written below `root`, the folder that holds `results`.

    Raises:
        DataError: if one of these files, or of those that it shows, is missing.
    """
    files, sources = files_of(catalogue, target), sources_of(catalogue, target)
    record = {"made": _digests(files, root), "of": _digests(sources, root)}
    write_record(root / stamp_of(catalogue, target), record)


def fits(catalogue: Catalogue, target: str, root: Path = Path()) -> bool:
    """Whether its files are those that were written, of what is on disk, for these params and by this code.

    Args:
        catalogue: the scale.
        target: such as `table9`, `figure2`, `claims` or `report`.
        root: the folder that holds `results`.
    """
    stamp = root / stamp_of(catalogue, target)
    try:
        said = read_record(stamp) if stamp.is_file() else {}
        return said.get("made") == _digests(files_of(catalogue, target), root) and said.get("of") == _digests(
            sources_of(catalogue, target), root
        )
    except DataError:  # damaged, or something is missing
        return False


def outdated(catalogue: Catalogue, words: Collection[str]) -> list[str]:
    """The targets of a call that are on disk, at least in part, and whose stamp does not fit.

    Args:
        catalogue: the scale.
        words: as `dpmix.catalogue.jobs.needed_for` takes them.
    """
    asked = set[str]().union(*(shown_by(catalogue, word) for word in words)) if words else set(catalogue.targets)
    found = [target for target in catalogue.targets if target in asked and not fits(catalogue, target)]
    if asked == set(catalogue.targets) and (found or not fits(catalogue, "report")):
        found.append("report")
    return [target for target in found if any(Path(path).exists() for path in files_of(catalogue, target))]


def _digests(paths: Iterable[str], root: Path = Path()) -> dict[str, str]:
    return {path: file_digest(root / path) for path in paths}
