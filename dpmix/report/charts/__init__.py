"""The report's pictures as Vega-Lite specifications, one file for each kind, and what makes images of them."""
