"""Who has which images, whoever else is there."""

import numpy as np
import pytest

from dpmix.data.persons import Persons

OWNERS = np.array([3, 0, 3, 1, 3, 0])


def test_everybody_has_their_own_images_in_their_order() -> None:
    persons = Persons.of(OWNERS, 5)
    assert len(persons) == 5
    found = {
        person: persons.images(np.array([person]), np.arange(count)[None])[0].tolist()
        for person, count in enumerate(persons.counts(np.arange(5)))
    }
    assert found == {person: np.flatnonzero(person == OWNERS).tolist() for person in range(5)}
    assert persons.present(np.array([4, 3, 2, 0])).tolist() == [3, 0]


def test_a_place_that_is_another_persons_is_refused() -> None:
    persons = Persons.of(OWNERS, 5)
    for place in (-1, 2):
        with pytest.raises(ValueError, match="not among the person's own images"):
            persons.images(np.array([0]), np.array([[place]]))


@pytest.mark.parametrize("owners", [[-1, 0], [0, 5]])
def test_a_person_beyond_the_published_number_is_refused(owners: list[int]) -> None:
    with pytest.raises(ValueError, match="are not among 5; number them from 0"):
        Persons.of(np.array(owners), 5)
    assert Persons.of(np.empty(0, dtype=np.int64), 5).present(np.arange(5)).tolist() == []
