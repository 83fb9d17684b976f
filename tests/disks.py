"""A small disk of its own, which a test can fill, for who may mount one."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.needs import ADMINISTRATOR, lacks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """`small_disk(size)` mounts a disk of that size, or gives the mounted one another size."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = []

    def mount(size: str) -> Path:
        options = ["-o", f"remount,size={size}" if mounted else f"size={size}"]
        made = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)], capture_output=True)
        if made.returncode:
            lacks(ADMINISTRATOR)
        mounted.append(size)
        return folder

    yield mount
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)
