"""The command line. Each command imports what it needs when it runs, so that `dpmix --help` answers at once."""

import errno
import sys

from dpmix.errors import DpmixError


def main() -> None:
    """Run `dpmix`; anything that a person can mend is one line on stderr and exit status 1."""
    from dpmix.cli.app import app

    try:
        app(standalone_mode=True)
    except DpmixError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            sys.exit("error: the disk is full; free some space and run the same command again")
        raise
    except KeyboardInterrupt:
        sys.exit(130)
