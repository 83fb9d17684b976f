"""Models that may be handed out: their files, and the statement of ε in them."""
