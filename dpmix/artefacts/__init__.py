"""Specifications of everything that is computed. Each names its file by a hash of the settings that determine it."""
