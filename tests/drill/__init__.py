"""The drill: harm is done to the workflow while it runs, and one call by the README's command must put it right.

One file for each kind of harm holds its cases; `place` has what they are done to, `judge` what counts as right, `run`
does them in turn, and `page` writes what came of it. `make drill` runs all on a finished demo.
"""
