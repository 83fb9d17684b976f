"""Small sets of images, and views of them, for the tests of mixing."""

import numpy as np
from hypothesis import strategies as st

from dpmix.data.images import Images
from dpmix.random import KeyedRandom
from dpmix.views.mixing import Views, make_views
from dpmix.views.settings import ViewSettings

CLASSES, SIDE = 4, 6


def images(count: int, seed: int = 0, side: int = SIDE) -> Images:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, 1, side, side)).astype(np.uint8)
    return Images(pixels, np.arange(count, dtype=np.int64) % CLASSES, tuple("abcd"))


PRIVATE, SYNTHETIC = images(50), images(12, seed=1)


def views_of(spec: ViewSettings, indices=(3, 7, 8), *, step: int = 0, private=PRIVATE, synthetic=SYNTHETIC) -> Views:
    return make_views(private, indices, spec, KeyedRandom(1, step, indices), synthetic)


@st.composite
def view_settings(draw, mixing=("mixup",)) -> ViewSettings:
    k_base, k_diff = draw(st.integers(0, 3)), draw(st.integers(0, 4))
    k_base += k_base + k_diff == 0
    pairs = draw(st.sampled_from(["distinct", "independent"]))
    k_self = draw(st.integers(0, 4)) if pairs == "independent" or k_base + k_diff > 1 else 0
    transforms = draw(st.sampled_from([(), ("flip",), ("crop", "flip"), ("crop", "noise"), ("jitter", "flip")]))
    augmented = draw(st.booleans())
    kind = draw(st.sampled_from(mixing))
    return ViewSettings(k_base, k_diff, k_self, 0.2, pairs, transforms, 1, augmented, mixing=kind)
