"""What a folder that is handed out says of time: one day, and nothing finer.

A file's time of change is copied by archivers and over the network. Of files that are written before training and after
it the times differ by how long it took, which depends on who was sampled.
"""

import os
from datetime import UTC, datetime
from pathlib import Path


def day() -> float:
    """The start of this day, UTC, in seconds since 1970."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def date_to_the_day(*paths: Path) -> None:
    """Set the times of files and folders to the start of this day, UTC."""
    times = (day(),) * 2
    for path in paths:
        os.utime(path, times)
