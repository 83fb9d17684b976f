"""The K views of an example: augmentation T and mixing."""
