"""The report: one HTML page, without other files, with every table and figure of a scale."""
