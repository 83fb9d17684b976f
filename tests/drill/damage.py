"""Files that were damaged: truncated, emptied, or with one bit that is another."""

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from .case import Case, Harm, Missed
from .place import Place


def truncated(path: Path, random: Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: random.randrange(1, max(2, len(content)))])


def emptied(path: Path, random: Random) -> None:
    path.write_bytes(b"")


def flipped(path: Path, random: Random) -> None:
    content = bytearray(path.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path, Random], None]] = {
    "truncated": truncated, "emptied": emptied, "one bit flipped": flipped
}  # fmt: skip

# What is made from a kind and must be made again for that to be read.
READERS = {
    "ImageStore": ("Experiment", "Selection"),
    "EncoderModel": ("Experiment", "Selection", "ZeroShot"),
    "DiffusionModel": ("SyntheticSet",),
    "SyntheticSet": ("SyntheticStore",),
    "SyntheticStore": ("Experiment", "Selection"),
    "PlanFile": ("Experiment",),
    "Selection": ("Experiment",),
    "Experiment": (),
    "ZeroShot": (),
}


def damaged(kind: str, how: str) -> Harm:
    """A harm: a file of an artefact is damaged, and what is made from it is to be made again.

    Args:
        kind: of artefacts, or "" for a finished table.
        how: the damage.
    """

    def harm(place: Place, random: Random) -> None:
        if not kind:
            path = random.choice(place.table_files())
        else:
            artefacts = place.made_for_target(kind)
            if not artefacts:
                raise Missed
            path = random.choice(artefacts)
            if kind not in ("PlanFile", "Selection"):
                path = random.choice([one for one in sorted(path.parent.rglob("*")) if _counts(one)])
            for reader in READERS[kind]:
                for made in place.made_for_target(reader):
                    made.unlink() if reader in ("PlanFile", "Selection") else shutil.rmtree(made.parent, True)
            place.remove_table()
        before = path.read_bytes()
        DAMAGES[how](path, random)
        if path.read_bytes() == before:
            raise Missed

    return harm


def _counts(path: Path) -> bool:
    """Whether a file of an artefact holds something: no note of where it is from, and not hidden."""
    return path.is_file() and path.stat().st_size > 0 and not path.name.startswith(".") and path.name != "source.json"


# What takes minutes to make again is damaged once; tests/test_damage.py damages small ones in every way.
_LONG = ("EncoderModel", "DiffusionModel", "SyntheticSet", "SyntheticStore")

CASES = [
    Case(f"damage, {how}", kind or "a table", damaged(kind, how))
    for how in DAMAGES
    for kind in (*READERS, "")
    if how == "one bit flipped" or kind not in _LONG
]
