"""`params.yaml`: its parts as typed classes, reading it, and its error messages."""
