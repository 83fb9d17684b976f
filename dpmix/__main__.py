"""`python -m dpmix`."""

from dpmix.cli import main

main()
