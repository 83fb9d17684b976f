"""The paper in miniature: drawn digits, and an encoder and a text-to-image model trained on them."""
