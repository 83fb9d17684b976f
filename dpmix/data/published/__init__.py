"""Published data sets, one module for each: where its archives are, and what lies where in them."""
