"""DP-Mix in other libraries' training loops."""
