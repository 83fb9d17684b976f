"""The views of a person who has several images: Algorithm 1, with a person in the place of an example.

A person's K_BASE base views show images of theirs, each transformed and with its own label. Mixtures are of two of the
person's views, so they may be of two of their images: that costs no privacy, because the mean gradient over all views
of a person is clipped as one, and no image of another person is in it. Removing a person with all their images so
moves the sum by at most C, however many they have, and no step reads more than K_BASE of them.
"""

import numpy as np
import numpy.typing as npt
import torch

from dpmix.data.images import Images
from dpmix.data.persons import Persons
from dpmix.random import KeyedRandom
from dpmix.views.mixing import Views, make_views
from dpmix.views.settings import ViewSettings


def make_person_views(
    private: Images,
    persons: Persons,
    units: npt.NDArray[np.int64],
    settings: ViewSettings,
    random: KeyedRandom,
    synthetic: Images | None = None,
    device: torch.device | str = "cpu",
) -> Views:
    """S and S' of some persons. Those of a person with one image are what `make_views` makes of that image.

    Args:
        private: the private training set.
        persons: who has which of its images.
        units: int64 [n], which persons; each has an image (`Persons.present`).
        settings: what the views are made of.
        random: draws keyed by these n persons, in the order of `units`.
        synthetic: D; needed if k_diff > 0.
        device: where the views are made.

    Returns:
        K = k_base + k_diff + k_self views of each person, in this order, with soft labels.

    Raises:
        ValueError: if a person has no image, or as `make_views` does.
        DataError: as `make_views` does.

    >>> private = Images(np.zeros((3, 1, 8, 8), dtype=np.uint8), np.array([0, 1, 1]), ("no", "yes"))
    >>> persons, units = Persons.of(np.array([1, 0, 1]), population=2), np.array([1])
    >>> views = make_person_views(private, persons, units, ViewSettings(k_base=2, k_self=3), KeyedRandom(0, 0, units))
    >>> views.images.shape, views.targets[0, :2].sum(dim=0)  # one view of each of the two images
    (torch.Size([1, 5, 1, 8, 8]), tensor([1., 1.]))
    """
    places = choose_places(persons.counts(units), settings.k_base, random)
    return make_views(private, persons.images(units, places), settings, random, synthetic, device)


def choose_places(counts: npt.NDArray[np.int64], views: int, random: KeyedRandom) -> npt.NDArray[np.int64]:
    """Which of their own images each person's base views show, as places from 0.

    Of m images, K_BASE different ones where m >= K_BASE, every choice being as probable as any other. Else each is
    shown ⌊K_BASE / m⌋ times, and as many different ones once more as views are left.

    Args:
        counts: int64 [n], m: how many images each person has.
        views: K_BASE.
        random: draws keyed by the n persons.

    Returns:
        int64 [n, K_BASE], in [0, m).

    Raises:
        ValueError: if a person has no image.

    >>> choose_places(np.array([1, 3, 9]), 3, KeyedRandom(0, 0, [4, 5, 6])).tolist()[:2]
    [[0, 0, 0], [0, 1, 2]]
    """
    if bool((counts < 1).any()):
        raise ValueError("a person without images has no views; leave them out by `Persons.present`")
    uniform = random.uniform("images of a person", views)
    whole = views // counts * counts  # views in rounds that show every image
    left = views - whole
    places = np.empty((len(counts), views), dtype=np.int64)
    for view in range(views):
        # Floyd's algorithm: `left` different ones out of m, of which this is the (view - whole)-th.
        top = counts - left + view - whole
        candidate = np.minimum((uniform[:, view] * (top + 1)).astype(np.int64), top)
        drawn = np.arange(view) >= whole[:, None]
        taken = ((places[:, :view] == candidate[:, None]) & drawn).any(axis=1)
        places[:, view] = np.where(view < whole, view % counts, np.where(taken, top, candidate))
    return places
