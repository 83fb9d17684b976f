"""Numbers that know how they were written in `params.yaml`, for where a text is wanted: a label, a name, a digest."""

import re
from typing import Self


class _Written:
    """What makes a kind of number one whose text is that of the file."""

    written: str

    def __new__(cls, value: float, written: str = "") -> Self:
        """The number `value`, which was `written` so."""
        one = super().__new__(cls, value)  # type: ignore[call-arg]  # of the kind of number beside this class
        one.written = written or repr(value)
        return one

    def __str__(self) -> str:
        return self.written


class WrittenFloat(_Written, float):
    """A number, as text written as in the file: `str` of one that was written `0.50` is "0.50"."""


class WrittenInt(_Written, int):
    """A whole number, as text written as in the file: `str` of one that was written `0x10` is "0x10"."""

    @property
    def in_doubt(self) -> bool:
        """Whether it begins with 0: `010` is ten in YAML 1.2, and eight in YAML 1.1 and to many people."""
        return re.match("[-+]?0[0-9_]", self.written) is not None
