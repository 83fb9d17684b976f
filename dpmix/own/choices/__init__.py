"""What a run is asked for, and what is chosen where nobody says: from public numbers alone."""
