"""DP-SGD: one training loop for networks from scratch and for linear heads on frozen encoders."""
