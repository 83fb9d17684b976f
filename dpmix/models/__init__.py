"""Models: wide residual networks trained from scratch, and frozen encoders, on which linear heads are trained."""
