"""Fixtures of the verbs' tests."""

from tests.own.comparisons import small
from tests.own.folders import model, shapes, written
from tests.own.images import images, quick
from tests.training.conftest import encoder_folder, recorder, world

__all__ = ["encoder_folder", "images", "model", "quick", "recorder", "shapes", "small", "world", "written"]
