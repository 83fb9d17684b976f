"""A private run: planned, trained, gone on with, and the record of what it spent."""
