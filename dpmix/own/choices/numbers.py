"""Numbers that Python gives a verb: a number is no text and no truth value, and a whole one may be written as 5.0.

NumPy's numbers are numbers. From the command line all arguments are of their types already.
"""

import numbers
from collections.abc import Sequence
from typing import TypeGuard

from dpmix.errors import ParamsError


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a real number of Python or NumPy.

    >>> [is_number(one) for one in (4, 0.5, "4", True, None, [4])]
    [True, True, False, False, False, False]
    """
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def whole(name: str, value: object, *, least: int = 1, such_as: int) -> int:
    """A whole number.

    Args:
        name: of the argument.
        value: as it is given.
        least: below which it may not be.
        such_as: one that works, for messages.

    Raises:
        ParamsError: for anything else, in one line.

    >>> whole("top_k", 3.0, such_as=3)
    3
    """
    if not is_number(value) or not float(value).is_integer():
        raise ParamsError(f"{name} should be a whole number, not {value!r}; correct it, such as `{name}={such_as}`")
    if value < least:
        raise ParamsError(f"{name} {value} is below {least}; give {least} or more, such as `{name}={such_as}`")
    return int(value)


def listed_numbers(name: str, values: object, *, such_as: str) -> tuple[float, ...]:
    """Numbers of a list, in their order.

    Args:
        name: of the argument.
        values: as they are given.
        such_as: a list that works, for messages.

    Raises:
        ParamsError: for anything else, in one line.

    >>> listed_numbers("epsilon", [1, 4], such_as="[1, 4]")
    (1.0, 4.0)
    """
    if is_number(values):
        raise ParamsError(f"{name} should be a list of numbers, not {values!r}; write `{name}=[{values}]`")
    if not isinstance(values, Sequence) or isinstance(values, str) or not all(map(is_number, values)):
        raise ParamsError(f"{name} should be a list of numbers, not {values!r}; correct it, such as `{name}={such_as}`")
    return tuple(map(float, values))
