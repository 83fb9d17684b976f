"""The scale that is rehearsed: the paper's own, of which sizes alone are cut, with what the server has.

Every data set, model, method, table, figure, cell and rule is the paper's, and so is each ε. What is cut: images and
batches, epochs, K, seeds, candidates of the learning rate, denoising steps and simulated attacks. Jobs are grouped by
model rather than by stream, because starting one costs more here than what it computes.
"""

import copy
import math
from collections.abc import Mapping
from typing import Any

from rehearsal.archives import Made

NAME, PAPER = "rehearsal", "paper"

_COUNTS = ("k_base", "k_self", "k_diff")
_BATCH = 2  # of the few images that there are


def views(key: str, count: int) -> int:
    """K cut to an eighth, or to a half where it is small already; none stays none.

    Of base views there are two or more, since mixing takes two.

    >>> [views("k_base", count) for count in (1, 8, 16, 24, 32, 36)]
    [1, 2, 2, 3, 4, 5]
    >>> [views("k_self", count) for count in (0, 8, 16, 18)]
    [0, 1, 2, 3]
    """
    if count <= 4:
        return math.ceil(count / 2)
    return max(math.ceil(count / 8), 2 if key == "k_base" else 1)


def _axis(key: str, counts: list[int]) -> list[int]:
    """An axis of a table: cut, and then as many different ones as there were."""
    cut: list[int] = []
    for count in counts:
        cut.append(max(views(key, count), cut[-1] + 1 if cut else 0))
    return cut


def rehearsed(
    params: Mapping[str, Any], made: Mapping[str, Made], server: str, inception: Mapping[str, str]
) -> dict[str, Any]:
    """The params of the rehearsal.

    Args:
        params: those of the repository.
        made: the archives of each data set.
        server: its address, below which archives lie at `/<data set>/<file>`.
        inception: `url` and `sha256` of InceptionV3's weights.
    """
    scale = _cut(copy.deepcopy(params["scales"][PAPER]))
    scale["seeds"] = [1]
    scale["bundle"] = {**scale["bundle"], "by": "model", "threads": 1, "physical_batch": 2, "remembered": 4096}
    scale["tuning"] = {"learning_rates": [1, 16], "holdout": 0.25}
    for table in scale["tables"].values():
        table.pop("seeds", None)
        if table["kind"].startswith("fid"):
            table["inception"] = dict(inception)
    datasets = {}
    for name, dataset in params["datasets"].items():
        if name in made:
            one = made[name]
            sizes = {"classes": one.classes, "train": one.train, "test": one.test}
            mirrors = {file: f"{server}/{name}/{file}" for file in one.files}
            datasets[name] = {**dataset, **sizes, "mirrors": mirrors, "checksums": one.checksums()}
    drawn = {**params["diffusion"][scale["synthetic"]], "steps": 2, "resolution": 256, "batch_size": 4}
    used = {name: model for name, model in params["models"].items() if not name.startswith("tiny")}
    return {
        "scale": NAME,
        "datasets": datasets,
        "models": used,
        "diffusion": {scale["synthetic"]: drawn},
        "methods": _cut(copy.deepcopy(params["methods"])),
        "scales": {NAME: scale},
    }


def _cut(value: Any) -> Any:
    """Settings, at any depth, with fewer views, smaller batches, an epoch and fewer simulated attacks."""
    if isinstance(value, list):
        return [_cut(one) for one in value]
    if not isinstance(value, dict):
        return value
    cut = {key: _cut(one) for key, one in value.items()}
    for key in _COUNTS:
        if isinstance(cut.get(key), int):
            cut[key] = views(key, cut[key])
        elif isinstance(cut.get(key), list):  # the axis of a table
            cut[key] = _axis(key, cut[key])
    for key, least in (("batch_size", _BATCH), ("epochs", 1), ("pretrain_epochs", 1), ("runs", 20)):
        if isinstance(cut.get(key), int):
            cut[key] = min(cut[key], least)
    return cut
