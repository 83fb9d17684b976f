"""The kinds of tables, one class each: what such a table says in the params, its cells, and how they are read back.

Imports go one way. `dpmix.params.read` knows what every table has and, in `TABLE_KINDS`, where the class of each kind
is
found by name; `dpmix.catalogue.catalogue` resolves settings to artefacts, and asks a table for its cells; the classes
here stand
above both. To add a kind, write a subclass of `base.Kind` (of `base.Measured` where artefacts leave a number each, of
`grid.GridTable` for a grid of runs), and add its name to `TABLE_KINDS`.
"""
