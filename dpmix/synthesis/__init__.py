"""The synthetic set D, drawn by a text-to-image model."""
