"""Fixtures of comparisons."""

from tests.own.research.comparisons import small

__all__ = ["small"]
