"""`params.yaml`: its parts, typed, and its errors."""
