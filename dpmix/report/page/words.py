"""The page's fixed words: what a scale's numbers mean, what ε promises, and how far a scale is."""

from dataclasses import dataclass

from dpmix.status.standing import Standing
from dpmix.tables.text import duration

# The heading and first paragraph of the page, by scale: what its numbers mean.
SCALES = {
    "demo": (
        "A miniature, not the paper's numbers",
        "The private images are scikit-learn's 1,797 handwritten digits, the networks tiny, the grids cut down, so "
        "that the whole pipeline runs on a laptop in minutes. Nothing here is about CIFAR-10 or any other data set of "
        "the paper, and a method that wins here need not win there.",
    ),
    "paper": (
        "The paper's own grid",
        "The data sets, models, methods and privacy budgets are the paper's. Beside each measured cell stands what the "
        "paper printed. Where the paper leaves a setting open, the choice made here is written in docs/choices.md.",
    ),
}
OTHER = (
    "A scale of your own",
    "The experiments are those of this scale in params.yaml; compare them with the paper only where the settings "
    "agree.",
)

ALTERNATIVES = {
    1: "Rows of small pictures: one private image with its plain views, synthetic images, and mixtures of pairs of "
    "these, each captioned with its parents, mixing weight and label.",
    2: "Densities on a logarithmic axis, one row per data set and one column per method, of each parameter's "
    "gradient magnitude: filled for the average over epochs, lines for epochs through training.",
}
"""What a person who cannot see a figure should know, by its number."""

PRIVACY = (
    "A run with a noise multiplier is (ε, δ)-differentially private: whoever sees the trained model can hardly tell "
    "whether any one private image was among the training images. The smaller ε, the less a model tells; ε = ∞ is "
    "training without noise, ε = 0 uses no private image at all.",
    "ε of a cell is computed from the steps that were executed, with the sampling rate and the noise that they had, "
    "and not copied from what was planned. Three accountants count them: Rényi DP as in the paper, privacy random "
    "variables, and privacy loss distributions. Each is an upper bound; the larger ones are looser. Open a cell to "
    "read what its runs promise.",
    "What ε does not cover: choices that were made by looking at private images, such as learning rates chosen on "
    "held-out ones; test accuracies, which read the test images; several models together, which spend more than each; "
    "distances and gradients before clipping, which are measured on private images; and this page as a whole, which "
    "shows some of them.",
    "Seeded runs are for research: their samples and noise can be computed again from the seed, so their models must "
    "not be released as private.",
)
"""Paragraphs on what ε promises."""


@dataclass(frozen=True)
class Progress:
    """How far a scale is, in words.

    Attributes:
        parts: how many files are `done`, `running`, `failed` and `missing`.
        words: the same as a sentence without its full stop.
        lead: what stands before the command.
        goes_on: the command that makes the rest; empty if nothing is left.
        time: how long that will take, as a sentence; empty if that is not known.
        failures: the last error message of each failed job and its log, the last one first.
    """

    parts: tuple[tuple[str, int], ...]
    words: str
    lead: str
    goes_on: str
    time: str
    failures: tuple[tuple[str, str], ...]


def progress(found: Standing) -> Progress:
    """How far a scale is, in words."""
    together = found.together
    names = ("done", "running", "failed", "missing")
    parts = tuple((name, int(getattr(together, name))) for name in names)
    listed = ", ".join(f"{count:,} {name}" for name, count in parts if count or name == "done")
    left = together.done < together.count
    words = f"Of {together.count:,} files of data, models and runs: {listed}" if left else (
        f"All {together.count:,} files of data, models and runs are done"
    )  # fmt: skip
    time = ""
    if left and found.seconds_left:
        more = f"; {found.unknown:,} missing files are of kinds of which none is done yet" if found.unknown else ""
        time = f"Time left: about {duration(found.seconds_left / 60)}, by what finished jobs took{more}."
    return Progress(
        parts,
        words,
        "When it has ended" if found.process == "running" else "Go on",
        (found.goes_on or "") if left else "",
        time,
        tuple((failure.line, str(failure.log or "")) for failure in reversed(found.failures)),
    )
