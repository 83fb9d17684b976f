"""One self-contained HTML page with every table and figure of a scale."""
