"""Sampling, clipping, noise, accounting and audit of DP-SGD."""
