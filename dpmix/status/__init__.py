"""How far a scale is: what is made, what is being made, what failed and why, and how long the rest will take."""
