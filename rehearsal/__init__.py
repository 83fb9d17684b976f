"""The paper's scale without its bytes: a server on the loopback, archives, checkpoints, a cluster, and faults of each.

`python -m rehearsal` (or `make rehearsal`) runs all of it; docs/rehearsal.md says what it is and what it found.
"""
