"""An encoder that remembers: an image that it has seen before, to the last bit, is not encoded again.

Methods that are compared share their plain views: with the same seed the first views of an example are the same
pictures whether or not others are mixed in, and the test images are the same for every run. What an image is encoded to
depends on the image alone, so features can be kept by a hash of its pixels. (Rounding also depends on how many images
go through the network together, so kept features differ from new ones in their last digits.)
"""

import functools
from collections import OrderedDict
from hashlib import blake2b

import torch
from torch import Tensor

from dpmix.models.encoder import Encoder


class Remembered:
    """An encoder on a processor, with the features of the images that it saw last.

    Args:
        encoder: the encoder, whose features are kept in main memory.
        most: how many images' features are kept: 4 dim bytes each, taken when the first image needs them. Of more,
            those that were asked for the longest ago are forgotten.

    Attributes:
        encoded: how many images went through the encoder.
        asked: how many were asked for.
    """

    def __init__(self, encoder: Encoder, most: int) -> None:
        self._encoder, self._most = encoder, most
        self._features = torch.empty(most, encoder.dim)  # memory is taken page by page, as it is written
        self._places: OrderedDict[bytes, int] = OrderedDict()
        self.encoded = self.asked = 0

    @property
    def resolution(self) -> int:
        """The encoder's, see `Encoder`."""
        return self._encoder.resolution

    def __call__(self, images: Tensor) -> Tensor:
        """The embeddings of images [m, C, R, R], float32 [m, dim]; see `Encoder`."""
        keys = [_key(image) for image in images]
        self.asked += len(keys)
        found = torch.empty(len(keys), self._encoder.dim)
        new: dict[bytes, list[int]] = {}
        for index, key in enumerate(keys):
            if key in self._places:
                self._places.move_to_end(key)
                found[index] = self._features[self._places[key]]
            else:
                new.setdefault(key, []).append(index)
        if new:
            features = self._encoder(images[[indices[0] for indices in new.values()]])
            self.encoded += len(features)
            for (key, indices), row in zip(new.items(), features, strict=True):
                found[indices] = row
                self._features[self._place(key)] = row
        return found

    def _place(self, key: bytes) -> int:
        """A place for a new image: a free one, or that of the image that was asked for the longest ago."""
        place = len(self._places) if len(self._places) < self._most else self._places.popitem(last=False)[1]
        self._places[key] = place
        return place


@functools.cache
def remembered(encoder: Encoder, most: int) -> Remembered:
    """The one that all runs of this process share."""
    return Remembered(encoder, most)


def _key(image: Tensor) -> bytes:
    """A hash of an image's shape and pixels; two of a billion images share one with probability 10⁻²¹."""
    pixels = image.contiguous().numpy()
    return blake2b(pixels.tobytes(), digest_size=16, key=f"{image.dtype} {tuple(image.shape)}".encode()).digest()
