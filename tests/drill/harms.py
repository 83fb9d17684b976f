"""All cases of the drill, by the file that holds them, in the order in which they are done."""

from . import clock, cluster, concurrency, damage, disks, environment, kills, late_files, signals
from .case import Case

HARMS: dict[str, list[Case]] = {
    module.__name__.rpartition(".")[2]: module.CASES
    for module in (signals, environment, concurrency, clock, late_files, disks, damage, cluster, kills)
}
