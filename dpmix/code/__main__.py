"""Record the code as it is: `python -m dpmix.code`."""

import sys

from dpmix.code import RECORD, record

if __name__ == "__main__":
    record()
    print(f"{RECORD}: commit it", file=sys.stderr)
