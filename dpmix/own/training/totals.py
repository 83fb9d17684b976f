"""What runs on the same images have spent together: ε of all of them, and in words."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dpmix.own.choices.setup import relative
from dpmix.own.images.place import left_behind
from dpmix.own.training.spent import Measured, Run, Unit
from dpmix.privacy.accounting import rounded_up
from dpmix.release.statement import Statement, joint_epsilons
from dpmix.wording import argument


def together(runs: Iterable[Run], unit: Unit, more: Sequence[Statement] = ()) -> tuple[dict[str, float], float]:
    """ε by accountant, and δ, of what was spent on one image or one person by these runs.

    Args:
        runs: of the record. Those for another unit are not counted, nor is research, which no ε covers.
        unit: an image, or a person with all images.
        more: what is about to be spent besides.

    Returns:
        No ε and δ = 0 if nothing was spent.
    """
    statements = [run.statement() for run in runs if run.covered and run.unit == unit] + list(more)
    if not statements:
        return {}, 0.0
    return joint_epsilons(statements), max(one.delta for one in statements)


def on_test_images(measured: Iterable[Measured], unit: Unit) -> float:
    """ε that released accuracies have spent on one test image, or on one person, together; 0 if none was released.

    It is a sum, since each count has noise of its own and no δ. A count that protects a person protects an image too:
    of each person one image is counted, so whatever becomes of one image, the count changes by 1 at most. One that
    protects an image does not protect a person, of whom it counts all images.

    Args:
        measured: of the record. For a person those that protect an image are not counted.
        unit: an image, or a person with all images.
    """
    return math.fsum(one.epsilon for one in measured if one.unit in ("person", unit))


def not_counted(runs: Iterable[Run], unit: Unit) -> dict[str, int]:
    """How many runs `together` leaves out: those that protect the `other_unit`, and `research`.

    Who is protected as a person is replaced, and not removed, where one of several images goes, which moves a step's
    sum by up to 2 C; and who has several images is not protected as one image is. So neither ε holds for the other
    (`dpmix.release.statement.NO_JOINT`).

    Args:
        runs: of the record.
        unit: whose ε is wanted.
    """
    found = list(runs)
    return {
        "other_unit": sum(run.covered and run.unit != unit for run in found),
        "research": sum(run.state == "research" for run in found),
    }


def so_far(runs: tuple[Run, ...], unit: Unit, without: str = "") -> str | None:
    """What the record says was spent already, in words; None if nothing was.

    Args:
        runs: of the record.
        unit: whose ε is wanted.
        without: the key of a run that is left out.
    """
    counted = [run for run in runs if run.key != without]
    covered = [run for run in counted if run.covered and run.unit == unit]
    left_out = not_counted(counted, unit)
    other, research = left_out["other_unit"], left_out["research"]
    parts = []
    if covered:
        joint, delta = together(covered, unit)
        unfinished = sum(run.state == "running" for run in covered)
        of = f", {unfinished} of them unfinished" if unfinished else ""
        runs_word = "run" if len(covered) == 1 else "runs"
        parts.append(f"spent so far on these images: {in_words(joint, delta)} ({len(covered)} {runs_word}{of})")
    if other:
        what, their = ("run protects", "it reveals") if other == 1 else ("runs protect", "they reveal")
        them = "image" if unit == "person" else "person"
        parts.append(f"{other} {what} one {them} and not one {unit}: no ε here counts what {their}")
    if research:
        parts.append(f"{research} for research, which no ε covers")
    return ", and ".join(parts) or None


def left_behind_words(images: Path, ledger: Path | None) -> str | None:
    """That a record beside images may be theirs, from before they were renamed; None if there is none.

    Args:
        images: as they are named, of which nothing is on record.
        ledger: the record that was named for them, if one was.
    """
    found = left_behind(images) if ledger is None else ()
    if not found:
        return None
    return (
        f"{found[0].name} is of images that are not there any more, and not counted; if they are these, which were "
        f"renamed, stop, and give --ledger {argument(relative(found[0]))} with every run on them"
    )


def so_far_on_test_images(measured: Iterable[Measured], unit: Unit, more: float | None = None) -> str | None:
    """What released accuracies have spent already on the test images, in words; None if none was released.

    Args:
        measured: of the record.
        unit: whose ε is wanted.
        more: what is about to be spent besides; None if nothing is.
    """
    found = list(measured)
    if not found:
        return None
    their = sum(one.unit in ("person", unit) for one in found)
    before, other = on_test_images(found, unit), len(found) - their
    accuracies = "accuracy" if their == 1 else "accuracies"
    said = f"spent so far on the test images: ε = {rounded_up(before, 2)} ({their} released {accuracies})"
    if more is not None:
        said += f"; together with this one ε = {rounded_up(before + more, 2)}"
    if other:
        reveals = "it reveals" if other == 1 else "they reveal"
        said += f"; {other} more for one image, and no ε here counts what {reveals}"
    return said


def in_words(epsilons: Mapping[str, float], delta: float) -> str:
    """The ε of the tightest accountant, rounded up: `ε = 5.38 at δ = 1e-05`."""
    return f"ε = {rounded_up(tightest(epsilons), 2)} at δ = {delta:g}"


def tightest(epsilons: Mapping[str, float]) -> float:
    """ε by the tightest accountant, or by the best there is; infinite if none could evaluate it."""
    return epsilons.get("pld", min(epsilons.values(), default=math.inf))
