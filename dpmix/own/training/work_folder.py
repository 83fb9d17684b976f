"""The folder of an unfinished run, `<out>.work`: what it was asked for, the listed images, and what is made from them.

Paths of artefacts are relative, so a run is made with this folder as the working directory. It holds decoded private
images until the run is done, and is then removed. Only a folder that was made here is ever emptied or removed: it has a
file that says so.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from dpmix.errors import DataError, DpmixError
from dpmix.files import lock

SCALE = "own"
"""The name of the scale, which is part of paths in the folder."""

BEGUN = "run.json"
"""The file in it with the run's key in the record; once it is there, steps may have been taken."""

_MARK = ".dpmix-unfinished"


@contextlib.contextmanager
def entered(work: Path) -> Iterator[None]:
    """A context in which the work folder is the working directory, and in which no other process runs the same.

    Folders around it that are made for it go with it, if it is removed and they are empty.

    Raises:
        DataError: if another process is in it, or there is a folder of another kind.
        DpmixError: if it cannot be made.
    """
    around = [folder for folder in work.parents if not folder.exists()]
    try:
        work.mkdir(parents=True, exist_ok=True)
        if not (work / _MARK).exists() and any(work.iterdir()):
            raise DataError(f"{work} is in the way, and no unfinished run; rename it, or name another `output`")
        (work / _MARK).touch()
        work.chmod(0o700)
        handle = os.open(work, os.O_RDONLY)
    except OSError as error:
        raise DpmixError(f"{work} cannot be made ({error.strerror}); name another: `output='FOLDER'`") from error
    try:
        if not lock(handle, wait=False):
            raise DataError(f"another process is training in {work}; wait for it, or stop it")
        with contextlib.chdir(work):
            yield
    finally:
        os.close(handle)
        if not work.exists():
            for folder in around:
                with contextlib.suppress(OSError):  # there is something in it, such as the model
                    folder.rmdir()


def empty() -> None:
    """Delete what an earlier run left in the work folder that was entered."""
    if Path(_MARK).exists():
        for path in Path().iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != _MARK:
                path.unlink()


def remove(work: Path) -> None:
    """Delete the work folder and the decoded images in it, by the process that entered it."""
    if (work / _MARK).exists():
        shutil.rmtree(work, ignore_errors=True)
