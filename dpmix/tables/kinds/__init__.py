"""The kinds of tables, one class each: its fields in the params, its cells, and how their numbers are read.

To add a kind, write a subclass of `base.Kind` (of `base.Measured` if each artefact gives one number, of
`grid.GridTable` for a grid of runs), and add its name and place to `dpmix.params.registries.TABLE_KINDS`.

These classes import `dpmix.catalogue.catalogue`, which makes artefacts of settings and asks each table for its cells;
the catalogue imports `dpmix.params`, which knows the classes here by name only, so that there is no circle.
"""
