"""Random numbers that are functions of (seed, step, stream, example), the same on every machine.

They come from a counter-based generator (Philox, Salmon et al., SC 2011), which has no state: a number depends on its
key alone. So results do not depend on the physical batch, the number of processes or interruptions, and removing one
record changes no other record's numbers, which lets tests measure sensitivity on whole training steps. A stream is a
purpose, such as "crop", given by name; names become keys of 64 bits or more by SHA-256, so that two purposes do not get
the same numbers by chance. This generator is not cryptographic: noise and samples of a released model come from the
operating system instead (`dpmix.privacy`).
"""

import functools
import hashlib
import operator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

_MASK = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))


def philox(counter: npt.NDArray[np.uint64], key: tuple[int, int]) -> npt.NDArray[np.uint64]:
    """Philox-4x32 with ten rounds: counters [..., 4] (32-bit words in uint64) to random words of the same shape."""
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) & _MASK for i in range(4))
    k0, k1 = (np.uint64(k & 0xFFFFFFFF) for k in key)
    for _ in range(10):
        p0, p1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (p1 >> _SHIFT) ^ c1 ^ k0, p1 & _MASK, (p0 >> _SHIFT) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return np.stack([c0, c1, c2, c3], axis=-1)


class KeyedRandom:
    """Independent draws for each of n examples at one step.

    Args:
        seed: the run's seed, 0 <= seed < 2**32.
        step: the step that the draws belong to, 0 <= step < 2**32; or int64 [n], a number of its own for each example,
            as of the set of views that it shows (`dpmix.views.sets`).
        examples: int64 [n], the index of each example in the published training set.

    Draws of different streams are independent; drawing from one twice gives the same numbers.

    Raises:
        ValueError: if the seed or the step is out of range; it would otherwise give the draws of another one.

    The draws of example 5 are the same whether or not other examples are drawn for:

    >>> both = KeyedRandom(seed=0, step=7, examples=[3, 5]).uniform("crop", 2)
    >>> alone = KeyedRandom(seed=0, step=7, examples=[5]).uniform("crop", 2)
    >>> bool((both[1] == alone[0]).all())
    True
    """

    def __init__(self, seed: int, step: int | npt.NDArray[np.int64], examples: npt.ArrayLike) -> None:
        self.seed, self.step = int(seed), np.asarray(step).reshape(-1)
        for name, value in (("seed", self.seed), *(("step", int(one)) for one in _ends(self.step))):
            if not 0 <= value < 2**32:
                raise ValueError(f"{name} {value} is not in [0, 2**32); choose a whole number from there")
        self.examples = np.asarray(examples, dtype=np.uint64).reshape(-1)
        self.step = np.broadcast_to(self.step, self.examples.shape).astype(np.uint64)

    def words(self, stream: str, *shape: int) -> npt.NDArray[np.uint64]:
        """Uniform 32-bit words, [n, *shape]."""
        count = int(np.prod(shape, dtype=np.int64))
        if count == 0 or len(self.examples) == 0:
            return np.zeros((len(self.examples), *shape), dtype=np.uint64)
        blocks = -(-count // 4)
        counter = np.zeros((len(self.examples), blocks, 4), dtype=np.uint64)
        counter[..., 0] = np.arange(blocks, dtype=np.uint64)
        counter[..., 1] = (self.examples & _MASK)[:, None]
        counter[..., 2] = (self.examples >> _SHIFT)[:, None]
        counter[..., 3] = self.step[:, None]
        key = key_of(64, self.seed, stream)
        words = philox(counter, (key >> 32, key))
        return words.reshape(len(self.examples), -1)[:, :count].reshape(-1, *shape)

    def uniform(self, stream: str, *shape: int) -> npt.NDArray[np.float64]:
        """Uniform on the open interval (0, 1) with 52 random bits, float64 [n, *shape]."""
        words = self.words(stream, *shape, 2)
        # One bit fewer than float64 holds, so that adding a half is exact and neither end is ever reached.
        bits = ((words[..., 0] << _SHIFT) | words[..., 1]) >> np.uint64(12)
        return np.asarray((bits.astype(np.float64) + 0.5) * 2.0**-52)

    def integers(self, stream: str, high: int, *shape: int) -> npt.NDArray[np.int64]:
        """Uniform integers in [0, high), int64 [n, *shape]."""
        return below(self.uniform(stream, *shape), high)

    def normal(self, stream: str, *shape: int) -> npt.NDArray[np.float64]:
        """Standard normal draws by inversion, float64 [n, *shape]."""
        from scipy.special import ndtri

        return np.asarray(ndtri(self.uniform(stream, *shape)))

    def beta(self, stream: str, alpha: float, *shape: int) -> npt.NDArray[np.float64]:
        """Beta(alpha, alpha) draws for 0 < alpha <= 1 by Jöhnk's rejection, float64 [n, *shape].

        Attempt number a reads its own stream, so that a draw depends on its key alone. At alpha = 0.2 an attempt is
        accepted with probability 0.95, so that a few attempts serve all examples.

        Raises:
            ValueError: if alpha is not in (0, 1].
        """
        if not 0 < alpha <= 1:
            raise ValueError(f"alpha must be in (0, 1], not {alpha}")
        drawn = np.full((len(self.examples), *shape), np.nan)
        for attempt in range(64):
            pending = np.isnan(drawn).any(axis=tuple(range(1, drawn.ndim)))
            if not pending.any():
                return drawn
            these = KeyedRandom(self.seed, self.step[pending], self.examples[pending])
            x = these.uniform(f"{stream}/x{attempt}", *shape) ** (1 / alpha)
            y = these.uniform(f"{stream}/y{attempt}", *shape) ** (1 / alpha)
            with np.errstate(invalid="ignore"):
                candidate = np.where((x + y <= 1) & (x + y > 0), x / (x + y), np.nan)
            drawn[pending] = np.where(np.isnan(drawn[pending]), candidate, drawn[pending])
        raise ArithmeticError("64 rejections in a row: alpha is too close to zero")


def _ends(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The smallest and the largest of some numbers; nothing of none."""
    return np.array([values.min(), values.max()]) if len(values) else values


def below(uniform: npt.NDArray[np.float64], high: int) -> npt.NDArray[np.int64]:
    """Uniform numbers in (0, 1) to uniform integers in [0, high), int64 of the same shape."""
    return np.minimum((uniform * high).astype(np.int64), high - 1)


@functools.lru_cache(maxsize=4096)
def key_of(bits: int, seed: int, *names: object) -> int:
    """A key of `bits` (up to 256) for a seed and further names, such as a purpose and a step.

    The first bits of SHA-256: two of a billion keys of 128 bits are equal with probability 10⁻²¹.
    """
    # NumPy's integers and Python's are the same key.
    plain = (operator.index(name) if hasattr(name, "__index__") else name for name in names)
    digest = hashlib.sha256(repr((int(seed), *plain)).encode()).digest()
    return int.from_bytes(digest, "big") >> (256 - bits)


def generator(seed: int, *names: object) -> np.random.Generator:
    """NumPy's Philox generator with a key of 128 bits, from a seed and further names; independent for each key.

    Its normal draws are the same on every processor; torch's are not.
    """
    return np.random.Generator(np.random.Philox(key=key_of(128, seed, *names)))


def torch_generator(seed: int, *names: object) -> "torch.Generator":
    """A `torch.Generator` on the CPU, for libraries that take nothing else.

    Torch uses 32 bits of a seed, so that among 65,536 generators two are likely to be equal. Use it for a few keys
    only, and never for noise.
    """
    import torch

    return torch.Generator().manual_seed(key_of(63, seed, *names))
