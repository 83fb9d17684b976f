"""Single faults that the tests must find: `make mutants` plants each and runs the tests that should fail.

`table.yaml` has an entry for each fault: `file`, `old` (text that stands there once), `new`, `tests` (files, separated
by blanks) and `why`, what the fault would do. A fault is killed if one of its tests fails; one that lives is a hole.
"""

from dataclasses import dataclass
from pathlib import Path

import yaml

TABLE = Path(__file__).with_name("table.yaml")


@dataclass(frozen=True)
class Mutant:
    """One fault: in `file`, `old` becomes `new`."""

    file: str
    old: str
    new: str
    tests: str
    why: str

    def applied(self, text: str) -> str:
        """The file's text with the fault.

        Raises:
            ValueError: if `old` is not there exactly once.
        """
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file}: {self.old!r} stands there {text.count(self.old)} times, not once")
        return text.replace(self.old, self.new)


def read() -> list[Mutant]:
    """All faults of the table, in its order."""
    return [Mutant(**entry) for entry in yaml.safe_load(TABLE.read_text(encoding="utf-8"))]
