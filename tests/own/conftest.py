"""Fixtures of the verbs' tests."""

from tests.own.folders import model, shapes, written
from tests.training.conftest import encoder_folder, recorder, world

__all__ = ["encoder_folder", "model", "recorder", "shapes", "world", "written"]
