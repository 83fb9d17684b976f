"""Where private images lie, by whichever name they are given, and what is wrong with them."""
