"""Makers: functions that make artefacts of a given kind. To add a kind of artefact, see `dpmix.makers.registry`."""
