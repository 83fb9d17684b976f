"""An encoder that remembers gives the features of one that does not, and encodes nothing twice."""

import pytest
import torch
from torch import Tensor, nn

from dpmix.models.encoder import Encoder
from dpmix.models.remembered import Remembered, remembered


class Counting(nn.Module):
    """Pixels as features; counts the images that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return images.flatten(1)


@pytest.fixture
def encoder() -> Encoder:
    return Encoder(Counting(), resolution=4, mean=(0.5,) * 3, std=(0.25,) * 3)


def images(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def seen(encoder: Encoder) -> int:
    assert isinstance(encoder.visual, Counting)
    return encoder.visual.seen


def test_features_are_the_encoders_own(encoder: Encoder) -> None:
    memory, some, more = Remembered(encoder, 8), images(5), images(6, 1)
    for asked in (some, more, torch.cat([more[3:], some, images(2, 2)]), some[:0], some.flip(0)):
        assert torch.equal(memory(asked), encoder(asked))


def test_an_image_is_encoded_once(encoder: Encoder) -> None:
    memory, some = Remembered(encoder, 8), images(5)
    before = seen(encoder)
    memory(torch.cat([some, some[:2]]))
    memory(some.clone())
    assert seen(encoder) - before == memory.encoded == 5
    assert memory.asked == 12


def test_another_bit_or_shape_is_another_image(encoder: Encoder) -> None:
    memory, some = Remembered(encoder, 8), images(1)
    other = some.clone()
    other[0, 2, 3, 3] = torch.nextafter(other[0, 2, 3, 3], torch.tensor(2.0))
    grey = torch.rand(1, 1, 4, 4)
    for asked in (some, other, grey, grey.expand(1, 3, 4, 4)):
        memory(asked)
    assert memory.encoded == 4


def test_what_was_asked_for_the_longest_ago_is_forgotten(encoder: Encoder) -> None:
    memory, some = Remembered(encoder, 3), images(4)
    memory(some[:3])
    memory(some[:1])  # now the second one was asked for the longest ago
    memory(some[3:])
    assert memory.encoded == 4
    memory(some[[0, 2, 3]])
    assert memory.encoded == 4
    assert torch.equal(memory(some[1:2]), encoder(some[1:2]))
    assert memory.encoded == 5


def test_more_images_at_once_than_it_keeps(encoder: Encoder) -> None:
    memory, some = Remembered(encoder, 3), images(10)
    assert torch.equal(memory(some), encoder(some))


def test_runs_of_a_process_share_one(encoder: Encoder) -> None:
    assert remembered(encoder, 4) is remembered(encoder, 4)
    assert remembered(encoder, 5) is not remembered(encoder, 4)
