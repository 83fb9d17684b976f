"""Fixtures of the verbs' tests."""

from tests.disks import small_disk
from tests.own.drawn import images, quick, tiny
from tests.own.folders import model, shapes, written
from tests.own.verbs import call
from tests.training.conftest import encoder_folder, recorder, world

__all__ = [
    "call", "encoder_folder", "images", "model", "quick", "recorder", "shapes", "small_disk", "tiny", "world",
    "written",
]  # fmt: skip
