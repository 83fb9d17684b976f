"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 32 x 32 pixels in pickled files, with a split of their own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dpmix.data.archives import Archive, Found, Source
from dpmix.data.decoding import part_of_pixels


def _fetch_cifar(kind: str) -> Callable[[Any, Path], Any]:
    def fetch_both(datasets: Any, raw: Path) -> Any:
        return {part: getattr(datasets, kind)(raw, train=part == "train", download=True) for part in ("train", "test")}

    return fetch_both


def _list_cifar(fetched: Any, raw: Path) -> Found:
    parts = {split: part_of_pixels(dataset.data, dataset.targets) for split, dataset in fetched.items()}
    return fetched["train"].classes, parts


CIFAR_10 = Source(
    _fetch_cifar("CIFAR10"),
    _list_cifar,
    (Archive("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", 170),),
    ("cifar-10-batches-py",),
    "https://www.cs.toronto.edu/~kriz/cifar.html",
)

CIFAR_100 = Source(
    _fetch_cifar("CIFAR100"),
    _list_cifar,
    (Archive("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", 169),),
    ("cifar-100-python",),
    "https://www.cs.toronto.edu/~kriz/cifar.html",
)
