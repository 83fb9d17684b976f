"""The report as one page that needs no network and no other file: what it shows as JSON, and its HTML."""
