"""DP-Mix in training loops of other libraries."""
