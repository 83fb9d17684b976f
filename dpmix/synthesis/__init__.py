"""The synthetic set D: images of the private data set's classes, drawn by a text-to-image model."""
