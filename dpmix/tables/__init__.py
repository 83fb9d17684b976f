"""Tables as data: cells and grids, the paper's own numbers, and the side-by-side in CSV, Markdown, LaTeX and HTML."""
