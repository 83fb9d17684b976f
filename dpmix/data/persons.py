"""Which images each person has, where a person and not an image is what is sampled and protected."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Persons:
    """The images of N persons: those of person p are `order[starts[p] : starts[p + 1]]`.

    Attributes:
        order: int64 [images], indices of images, person by person; a person's own in increasing order, so that they
            keep their places whoever else is there.
        starts: int64 [N + 1], where each person's begin.

    >>> persons = Persons.of(np.array([1, 0, 1, 3]), population=4)
    >>> persons.counts(np.array([0, 1, 2, 3])).tolist(), persons.images(np.array([1]), np.array([[0, 1]])).tolist()
    ([1, 2, 0, 1], [[0, 2]])
    """

    order: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, persons: npt.NDArray[np.int64], population: int) -> Self:
        """The images of each of `population` persons.

        Args:
            persons: int64 [images], whose image each is, from 0; see `dpmix.data.images.Images.persons`.
            population: N, the published number of persons. One without images is a person who has left.

        Raises:
            ValueError: if there is a person of a number below 0, or above N - 1.
        """
        if len(persons) and not 0 <= persons.min() <= persons.max() < population:
            raise ValueError(
                f"persons {persons.min()} to {persons.max()} are not among {population}; number them from 0"
            )
        starts = np.zeros(population + 1, dtype=np.int64)
        np.cumsum(np.bincount(persons, minlength=population), out=starts[1:])
        return cls(np.argsort(persons, kind="stable"), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def counts(self, units: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many images each of these persons has, int64 [n]; private, so for making views only."""
        return self.starts[units + 1] - self.starts[units]

    def images(self, units: npt.NDArray[np.int64], places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Indices of some of their images.

        Args:
            units: int64 [n], persons.
            places: int64 [n, k], for each of them places among their own images, from 0.

        Returns:
            int64 [n, k].

        Raises:
            ValueError: if a person has fewer images than that.
        """
        if bool((places >= self.counts(units)[:, None]).any()) or bool((places < 0).any()):
            raise ValueError("a place is not among the person's own images; count them by `counts`")
        return self.order[self.starts[units][:, None] + places]

    def present(self, units: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Those of these persons who have images, in the same order."""
        return units[self.counts(units) > 0]
