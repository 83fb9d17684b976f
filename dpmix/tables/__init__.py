"""Tables: their kinds, cells and statistics, the paper's own numbers, and files in CSV, Markdown, LaTeX and HTML."""
