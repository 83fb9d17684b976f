"""The demo's public data and models: drawn digits, and an encoder and a text-to-image model trained on them."""
