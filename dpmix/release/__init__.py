"""Models that may be handed out, and what they may have revealed."""
