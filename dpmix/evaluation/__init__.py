"""Measurements without training: zero-shot accuracy and Fréchet distances."""
