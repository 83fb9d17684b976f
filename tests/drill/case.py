"""What a case of the drill is."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random

from .place import Done, Place

SNAKEMAKE = "snakemake --cores all {target}"
DVC = "dvc repro {stage}"
# As docs/cluster.md has it for trying a cluster.
CLUSTER = "snakemake --cores 8 --profile slurm --config scale={scale} -- {target}"

# Does the harm to a place; what a call said that ended by itself.
Harm = Callable[[Place, Random], Done | None]


class Missed(Exception):
    """The harm came too late, or to nothing: the case does not count, and is done again."""


class Broken(Exception):
    """What was called while the harm was done ended as it must not."""


@dataclass(frozen=True)
class Case:
    """One harm, and the command that is to put it right.

    Attributes:
        group: its row in the figures.
        name: what it is, in a few words.
        harm: does it.
        command: the README's, with `{target}` for the table.
        times: how often it is done, at other moments.
        around: a context that the harm and the command need, such as a cluster.
        small: whether it is done to a table of one run, which is made in seconds, and not to one of the demo's.
    """

    group: str
    name: str
    harm: Harm
    command: str = SNAKEMAKE
    times: int = 1
    around: Callable[[], AbstractContextManager[dict[str, str]]] | None = None
    small: bool = False

    def spelled(self, place: Place) -> str:
        """The command for a place."""
        number = place.target.removeprefix("table").removeprefix("_")
        return self.command.format(target=place.target, stage=f"table@{number}", scale=place.catalogue.scale)
