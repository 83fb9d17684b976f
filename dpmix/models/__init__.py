"""Models: networks trained from scratch, and frozen encoders under a linear head."""
