"""Differences of rows of a table, seed by seed, as sentences below it."""

from collections.abc import Mapping, Sequence

from dpmix.tables.statistics import paired_difference

Values = Sequence[float]


def differences(compare: Mapping[str, Sequence[str]], values: Mapping[tuple[str, str], Values]) -> list[str]:
    """A `difference` for each row and each of those that it is compared with, in the columns that both rows have.

    Args:
        compare: by a row's label, the labels of the rows that are subtracted from it.
        values: by the labels of row and column, one for each seed; without the cells that a table leaves empty.

    Returns:
        The sentences in the order of `compare`; none for two rows that have no column in common.

    >>> cells = {("Mixed", "ε = 1"): [81.0], ("Mixed", "ε = 8"): [90.0], ("Plain", "ε = 8"): [90.5]}
    >>> differences({"Mixed": ["Plain"]}, cells)
    ['Mixed minus Plain, mean over seeds and its 95 % interval: ε = 8: −0.5 (one seed).']
    """
    columns = list(dict.fromkeys(column for _, column in values))
    found = []
    for first, others in compare.items():
        for second in others:
            both = {
                column: (values[first, column], values[second, column])
                for column in columns
                if (first, column) in values and (second, column) in values
            }
            if both:
                found.append(difference(first.replace(" | ", ", "), second.replace(" | ", ", "), both))
    return found


def difference(first: str, second: str, columns: Mapping[str, tuple[Values, Values]]) -> str:
    """How much larger the values of one row are than those of another, with 95 % intervals, in each column.

    Args:
        first: the row's label.
        second: the label of the row that is subtracted.
        columns: by label, the values of both rows, one for each seed and in the same order.

    >>> difference("Mixed", "Plain", {"ε = 1": ([81.0, 83.0, 85.0], [80.0, 81.0, 82.0]), "ε = 8": ([90.0], [90.5])})
    'Mixed minus Plain, mean over seeds and its 95 % interval: ε = 1: +2.0 [−0.5, +4.5]; ε = 8: −0.5 (one seed).'
    """
    said = [f"{label}: {_of(values, others)}" for label, (values, others) in columns.items()]
    return f"{first} minus {second}, mean over seeds and its 95 % interval: {'; '.join(said)}."


def _of(values: Values, others: Values) -> str:
    if tuple(values) == tuple(others):
        return "the same at each seed"
    if len(values) < 2:
        return f"{_signed(values[0] - others[0])} (one seed)"
    found = paired_difference(values, others)
    return f"{_signed(found.estimate)} [{_signed(found.low)}, {_signed(found.high)}]"


def _signed(value: float) -> str:
    text = f"{value:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")
