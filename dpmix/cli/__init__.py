"""The command line. Each command imports what it needs only when it runs, so that `dpmix --help` is fast."""

import errno
import io
import sys
import warnings
from typing import Any

from dpmix.errors import DpmixError, one_line

_USAGE = 2  # the exit status of a command line that cannot be understood, as elsewhere


def main() -> None:
    """Run `dpmix`. Errors that the user can mend are printed as one line on stderr.

    The exit status is 2 for a mistake in the command line itself, 130 after an interrupt, and 1 for any other error.
    """
    import typer

    from dpmix.cli.app import app

    # A name whose bytes are no text is shown with escapes, where the locale would have it end in an error.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    # Pillow's warnings name a line of its own code, and not the image; what cannot be read is an error anyhow.
    warnings.filterwarnings("ignore", module=r"PIL\.")

    # Typer brings a click of its own or takes the one that is installed; this name is public in both.
    usage_error: Any = typer.BadParameter.__base__
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except usage_error as error:
        _refuse_usage(error)
    except DpmixError as error:
        sys.exit(f"error: {one_line(error)}")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            sys.exit("error: the disk is full; free some space and run the same command again")
        raise
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)


def _refuse_usage(error: Any) -> None:
    """Print one line about an unknown command or option, or a wrong value, and exit with status 2."""
    if type(error).__name__ == "NoArgsIsHelpError":  # a group of commands by itself asks for help
        if error.message:  # rich has printed it already
            error.show()
        sys.exit(_USAGE)
    message = " ".join(error.format_message().split()).rstrip(".")
    command = error.ctx.command_path if error.ctx else "dpmix"
    print(f"error: {message[:1].lower()}{message[1:]}; {command} --help says what there is", file=sys.stderr)
    sys.exit(_USAGE)
