"""Training: networks from scratch, and linear heads on frozen encoders."""
