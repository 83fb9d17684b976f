"""Fixtures of the verbs' tests."""

from tests.disks import small_disk
from tests.own.comparisons import small
from tests.own.folders import model, shapes, written
from tests.own.images import images, quick, tiny
from tests.own.verbs import call
from tests.training.conftest import encoder_folder, recorder, world

__all__ = [
    "call", "encoder_folder", "images", "model", "quick", "recorder", "shapes", "small", "small_disk", "tiny", "world",
    "written",
]  # fmt: skip
