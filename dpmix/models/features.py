"""The features that a linear head sees: an image's embedding, standardised by public data, and a constant 1."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dpmix.data.images import Images, batches
from dpmix.models.encoder import Encoder
from dpmix.models.photographs import crops
from dpmix.models.remembered import Remembered
from dpmix.privacy.linear_heads import append_one

Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Featurizer:
    """Maps images float32 [m, C, R, R] to features float32 [m, d + 1]: (embedding - shift) * scale, then a constant 1.

    The constant makes a head's bias a column of its weights.

    Attributes:
        encode: the frozen encoder, from images to embeddings [m, d].
        shift: float32 [d]; None with `scale` None leaves embeddings as they are.
        scale: float32 [d]. Both must come from public data, so that they cost no privacy.
    """

    encode: Encode
    shift: Tensor | None = None
    scale: Tensor | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Images float32 [m, C, R, R] in [0, 1] to features [m, d + 1]."""
        return self.standardised(self.encode(images))

    def standardised(self, embeddings: Tensor) -> Tensor:
        """Embeddings [m, d], as `encode` gives them, to features [m, d + 1]."""
        features = embeddings.float()
        if self.shift is not None and self.scale is not None:
            features = (features - self.shift) * self.scale
        return append_one(features)

    def standardization(self) -> dict[str, Tensor]:
        """`shift` and `scale` by name, to be saved with a head; empty if features are not standardised."""
        return {} if self.shift is None or self.scale is None else {"shift": self.shift, "scale": self.scale}

    def of(self, images: Images, device: str, batch: int = 512) -> Tensor:
        """The features of a whole set of images, without augmentation.

        Args:
            images: N images.
            device: where they are encoded.
            batch: images at a time.

        Returns:
            float32 [N, d + 1].
        """
        return torch.cat([self(part) for part in batches(images, batch, device)])

    @staticmethod
    def standardized(encode: Encode, public: Images, device: str) -> "Featurizer":
        """A featurizer whose d features have mean 0 and standard deviation 1 / sqrt(d) on some public images.

        A typical feature vector then has norm 1.

        Args:
            encode: the frozen encoder.
            public: the public images.
            device: where they are encoded.
        """
        raw = Featurizer(encode).of(public, device)[:, :-1]
        deviation = raw.std(dim=0).clamp_min(1e-6)
        return Featurizer(encode, raw.mean(dim=0), 1 / (deviation * raw.shape[1] ** 0.5))

    @staticmethod
    def standardized_by_photographs(encode: Encoder | Remembered) -> "Featurizer":
        """A featurizer whose features are 0 on average and of norm 1 in the median over crops of public photographs.

        From each feature its own mean is subtracted; all are divided by the same number, because two photographs say
        little about one feature's deviation. `docs/choices.md` has what this was compared with.

        Args:
            encode: the frozen encoder.
        """
        raw = encode(crops(encode.resolution)).float()
        shift = raw.mean(dim=0)
        norm = (raw - shift).norm(dim=1).quantile(0.5).clamp_min(1e-6)
        return Featurizer(encode, shift, torch.full_like(shift, 1 / float(norm)))
