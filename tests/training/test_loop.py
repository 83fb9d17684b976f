import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dpmix.training.loop import epoch_ends, epoch_of
from dpmix.training.physical_batches import physical_batches

steps_and_epochs = st.integers(1, 40).flatmap(lambda epochs: st.tuples(st.integers(epochs, 2000), st.just(epochs)))


@given(steps_and_epochs)
def test_every_epoch_ends_once_and_the_last_with_the_last_step(given: tuple[int, int]) -> None:
    steps, epochs = given
    ends = epoch_ends(steps, epochs)
    assert len(ends) == epochs
    assert max(ends) == steps
    assert min(ends) >= 1


@given(steps_and_epochs)
def test_a_step_belongs_to_the_epoch_that_ends_after_it(given: tuple[int, int]) -> None:
    steps, epochs = given
    ends = sorted(epoch_ends(steps, epochs))
    for step in {0, steps // 3, steps // 2, steps - 1}:
        assert epoch_of(step, steps, epochs) == sum(end <= step for end in ends)


@given(st.integers(0, 200), st.integers(1, 64))
def test_physical_batches_cut_without_loss(count: int, size: int) -> None:
    parts = list(physical_batches(np.arange(count), size))
    assert np.concatenate([np.arange(0), *parts]).tolist() == list(range(count))
    assert all(1 <= len(part) <= size for part in parts)
