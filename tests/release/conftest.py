"""Tests of released models train them in the small world of `tests/training`."""

from tests.training.conftest import encoder_folder, recorder, world

__all__ = ["encoder_folder", "recorder", "world"]
