"""`python -m benchmarks.features STORE ENCODER OUT`: the archive of features that `benchmarks.learning_rate` reads.

Each training image has R sets of K views, as `dpmix train` makes them.

STORE is a folder of images as dpmix keeps them (`data/images/<data set>-<side>px-<hash>`), ENCODER that of an encoder
(`data/encoders/<name>-<hash>`); `make demo` and `make cifar10` make them. Training images are put into random order.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.measure import tell
from dpmix.data.images import Images, load
from dpmix.execution import Execution
from dpmix.models.encoder_files import shared_encoder
from dpmix.models.features import Featurizer
from dpmix.own.choices.recipe import K_BASE, K_SELF
from dpmix.progress import progress
from dpmix.random import KeyedRandom
from dpmix.views.mixing import make_views
from dpmix.views.settings import ViewSettings

_BATCH = 32


def views_of(images: Images, featurize: Featurizer, settings: ViewSettings, view_sets: int) -> npt.NDArray[np.float16]:
    """Features of R sets of K views of each image, without the constant: float16 [N, R, K, d]."""
    parts = []
    for start in progress(range(0, len(images), _BATCH), "encoding views"):
        part = np.arange(start, min(start + _BATCH, len(images)))
        made = [make_views(images, part, settings, KeyedRandom(0, number, part)).images for number in range(view_sets)]
        views = torch.stack(made, dim=1)
        parts.append(featurize(views.flatten(0, 2))[:, :-1].unflatten(0, views.shape[:3]).half().numpy())
    return np.concatenate(parts)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__)
    parser.add_argument("store", type=Path, help="folder of the images")
    parser.add_argument("encoder", type=Path, help="folder of the encoder")
    parser.add_argument("out", type=Path, help="the archive to write, such as features/cifar-10.npz")
    parser.add_argument("--public", type=Path, help="folder of public images to standardise by; else two photographs")
    parser.add_argument("--size", type=int, help="training images, if not all")
    parser.add_argument("--sets", type=int, default=1, help="R")
    parser.add_argument("--base", type=int, default=K_BASE, help="K_BASE")
    parser.add_argument("--mixed", type=int, default=K_SELF, help="K_SELF")
    parser.add_argument("--transforms", nargs="*", default=["crop"], help="of each view")
    parser.add_argument("--padding", type=int, default=1, help="of the crop, in pixels")
    options = parser.parse_args()
    train, test = load(options.store, "train"), load(options.store, "test")
    chosen = np.random.default_rng(0).permutation(len(train))[: options.size]
    train = Images(np.asarray(train.images)[chosen], train.labels[chosen], train.classes)
    encode = shared_encoder(options.encoder, Execution())
    if options.public:
        featurize = Featurizer.standardized(encode, load(options.public, "train"), "cpu")
    else:
        featurize = Featurizer.standardized_by_photographs(encode)
    settings = ViewSettings(
        options.base, k_self=options.mixed, transforms=tuple(options.transforms), padding=options.padding
    )
    np.savez(
        options.out,
        train=views_of(train, featurize, settings, options.sets),
        train_labels=train.labels,
        test=featurize.of(test, "cpu")[:, :-1].half().numpy(),
        test_labels=test.labels,
    )
    tell(f"{options.out}: {len(train)} images, {options.sets} sets of {settings.views} views")


if __name__ == "__main__":
    main()
