"""An opened picture as a person sees it: upright, in 8 bits, on paper where it is transparent."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

# Larger pictures would fill the memory; a file that says so is damaged or malicious.
MOST_PIXELS = 2**28

# Above this Pillow by itself refuses pictures, and above half of it warns; here they are made smaller as they are read.
_LARGE = 2 * 89_478_485

# Bits of 16 that cameras and scanners leave empty: pictures that would be all but black are of these depths.
_DEPTHS = (8, 12, 16)

# Ink that is at least as light as this cannot be seen on white.
_WHITE = 240

_ORIENTATION, _BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 0x0112, 258, 262, 339

_alone = threading.Lock()


def read(file: IO[bytes] | Path) -> "Image.Image":
    """Open and decode a picture, and show it as a person sees it.

    - It is turned as its EXIF orientation says.
    - 16-bit grey is brought to 8 bits: by the depth that the file names, else by the least of 8, 12 and 16 bits that
      holds its levels.
    - What is transparent lies on white, or on black if all ink is white.

    Args:
        file: where to read from.

    Returns:
        An image of 8 bits a channel that Pillow converts to grey or RGB, without transparency.

    Raises:
        ValueError: for pixels without a meaning to the eye, or too many of them; a sentence's end with a remedy.
        Exception: whatever Pillow raises for files that are damaged or of no known format.
    """
    from PIL import Image

    with _any_size():
        image = Image.open(file)
    with image:
        size = image.width * image.height
        if size > MOST_PIXELS:
            raise ValueError(f"it has {size:,} pixels, above the limit of {MOST_PIXELS:,}; make it smaller")
        sixteen_bits = any(";16" in repr(tile) for tile in getattr(image, "tile", ()))
        with _any_size() if size > _LARGE // 2 else contextlib.nullcontext():
            image.load()
            return _turned(image, _on_paper(_reduced(_eight_bits(image, sixteen_bits))))


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    """A context in which Pillow's own guard against large pictures gives way to ours; for one thread at a time."""
    from PIL import Image

    with _alone:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _eight_bits(image: "Image.Image", sixteen_bits: bool) -> "Image.Image":
    """The picture with 8 bits a channel. Pillow would clip 16-bit grey at 255, and X-rays would come out white."""
    from PIL import Image

    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PPM"):
        levels = np.asarray(image)
        bits = tags.get(_BITS, (16,))[0]
        shown = (levels >> (_depth(levels, bits) - 8)).astype(np.uint8)
        return Image.fromarray(255 - shown if tags.get(_PHOTOMETRIC) == 0 else shown)
    if image.mode == "I" and tags.get(_SAMPLE_FORMAT, (1,))[0] == 2 and tags.get(_BITS, (32,))[0] == 16:
        raise ValueError("its 16 bits are signed, so that no level is black; save it with unsigned levels")
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits; save it with 8 or 16")
    if sixteen_bits and 0 < _brightest(image) < 16:
        raise ValueError("it has 12 bits in 16 and would be all but black; save it with 8 bits a channel")
    if image.mode == "LAB":
        raise ValueError("its colours are CIELAB; save it as RGB")
    return image


def _depth(levels: npt.NDArray[np.integer], bits: int) -> int:
    """How many bits the levels of 16-bit grey really have, of `_DEPTHS` or as the file says."""
    if bits < 16:
        return max(int(bits), 8)
    brightest = int(levels.max(initial=0))
    return next(depth for depth in _DEPTHS if brightest < 2**depth) if brightest else 16


def _brightest(image: "Image.Image") -> int:
    """The highest level of a picture's colours, without its transparency."""
    bands = [band for name, band in zip(image.getbands(), image.split(), strict=True) if name != "A"]
    return max(int(np.asarray(band).max(initial=0)) for band in bands)


def _reduced(image: "Image.Image") -> "Image.Image":
    """A large picture with whole squares of pixels averaged, so that threads that read such do not fill the memory."""
    if image.width * image.height <= _LARGE:
        return image
    palette = image.mode in ("1", "P", "PA")
    return (image.convert("RGBA" if "transparency" in image.info else "RGB") if palette else image).reduce(2)


def _on_paper(image: "Image.Image") -> "Image.Image":
    """The picture without transparency: on white, or on black if its ink is white throughout."""
    from PIL import Image

    if "transparency" in image.info:  # a colour, or places of a palette, that are not there
        image = image.convert("RGBA")
    if image.mode in ("RGBa", "La", "PA"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if image.mode not in ("RGBA", "LA"):
        return image
    *_, alpha = image.split()
    ink = image.convert(image.mode[:-1])
    opaque = np.asarray(alpha)
    if opaque.min(initial=255) == 255:
        return ink
    seen = np.asarray(ink)[opaque > 0]
    paper = 0 if seen.size and seen.min() >= _WHITE else 255
    return Image.composite(ink, Image.new(ink.mode, ink.size, (paper,) * len(ink.getbands())), alpha)


def _turned(image: "Image.Image", shown: "Image.Image") -> "Image.Image":
    """What is shown of an image, turned as the image's EXIF orientation says."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    with contextlib.suppress(Exception):  # a broken EXIF block does not make the picture unreadable
        turn = turns.get(image.getexif().get(_ORIENTATION, 1))
        return shown if turn is None else shown.transpose(turn)
    return shown
