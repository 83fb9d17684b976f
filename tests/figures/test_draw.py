"""What the figures are handed: each image, label, weight and gradient traced back to the store or run it comes from."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpmix.artefacts.data import SyntheticStore
from dpmix.artefacts.experiment import Experiment, GradientRecord
from dpmix.catalogue.catalogue import Catalogue
from dpmix.figures.draw import draw_figure, gradient_panels, views_csv, views_of_one_example
from dpmix.figures.figure1 import Figure1Data
from dpmix.files import write_json
from dpmix.params.read import parse
from dpmix.random import KeyedRandom
from dpmix.training.data import load_data, view_settings
from dpmix.views.mixing import make_views

CLASSES, TRAIN, TEST, SYNTHETIC, PIXELS = ("ant", "bee", "cat", "dog"), 31, 8, 23, 16

K_BASE, K_DIFF, K_SELF = 3, 4, 6


def catalogue(scale: str = "demo", **figure1: Any) -> Catalogue:
    """Both figures of two data sets and two methods, with views that are the images themselves unless mixed."""
    dataset = {"source": "folder", "path": "raw", "classes": len(CLASSES), "train": TRAIN, "test": TEST}
    settings = {
        "delta": 1e-5, "accountant": "rdp", "clip_norm": 1, "batch_size": 5, "epochs": 2, "learning_rate": 1,
        "k_base": K_BASE, "transforms": [], "padding": 0,
    }  # fmt: skip
    brush = {"model": "b", "guidance_scale": 1, "steps": 1, "resolution": 16, "scheduler": "DDIMScheduler"}
    figures = {
        "1": {"datasets": ["insects"], "model": "eye", "methods": ["diff"], "example": 12, "seed": 7, **figure1},
        "2": {"datasets": ["insects", "trees"], "model": "eye", "methods": ["plain", "diff"]},
    }
    for figure in figures.values():
        figure["fixed"] = {"epsilon": 1, **figure.get("fixed", {})}
    spec = {
        "synthetic": "brush", "synthetic_size": {"insects": SYNTHETIC, "trees": SYNTHETIC}, "seeds": [1],
        "bundle": {"by": "model"}, "tuning": {"learning_rates": [1]}, "scratch": settings, "finetune": settings,
        "tables": {}, "figures": figures,
    }  # fmt: skip
    eye = {"kind": "encoder", "label": "Eye", "architecture": "tiny", "weights": "none", "resolution": PIXELS}
    raw = {
        "scale": scale,
        "datasets": {"insects": {**dataset, "label": "CIFAR-10"}, "trees": {**dataset, "label": "Trees"}},
        "models": {"eye": eye},
        "diffusion": {"brush": brush},
        "methods": {
            "plain": {"label": "Self-Aug", "k_self": 0, "k_diff": 0},
            "diff": {"label": "DP-Mix_Diff", "k_self": K_SELF, "k_diff": K_DIFF},
        },
        "scales": {scale: spec},
    }
    return Catalogue(parse(raw))


@pytest.fixture(autouse=True)
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The image stores of Figure 1 in the working directory: noise, so that no two images are alike."""
    monkeypatch.chdir(tmp_path)
    made = catalogue()
    (run,) = made.figure_experiments("1").values()
    random = np.random.default_rng(3)
    found = {}
    d = run.synthetic_images()
    assert isinstance(d, SyntheticStore)
    for store, splits in ((run.images(), {"train": TRAIN, "test": TEST}), (d, {"train": SYNTHETIC})):
        folder = store.path(made.scale).parent
        folder.mkdir(parents=True)
        for split, count in splits.items():
            images = random.integers(0, 256, (count, 3, PIXELS, PIXELS)).astype(np.uint8)
            # Neither in order nor the same in both stores.
            labels = random.integers(0, len(CLASSES), count)
            np.save(folder / f"{split}_images.npy", images)
            np.save(folder / f"{split}_labels.npy", labels)
            found["synthetic" if store is d else split] = (images, labels)
        meta = {"classes": list(CLASSES), "resolution": PIXELS, "channels": 3, "sizes": splits}
        write_json(folder / "meta.json", meta)
    return found


def where(image: np.ndarray, images: np.ndarray) -> int:
    """Which of `images`, bytes, an image in [0, 1] is."""
    (index,) = np.flatnonzero((np.rint(255 * image) == images).all(axis=(1, 2, 3)))
    np.testing.assert_allclose(image, images[index] / 255, atol=1e-6)
    return int(index)


def shown(**figure1: Any) -> Figure1Data:
    return views_of_one_example(catalogue(**figure1))


# Figure 1 -------------------------------------------------------------------------------------------------------------
def test_the_example_and_its_plain_views(stores: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    images, labels = stores["train"]
    data = shown()
    assert where(data.image, images) == 12
    assert data.label == CLASSES[labels[12]]
    assert [where(view, images) for view in data.base] == [12] * K_BASE
    assert (data.classes, data.image.dtype) == (CLASSES, np.float32)
    again = shown(example=12 + TRAIN)
    assert np.array_equal(again.image, data.image)


def test_synthetic_images_have_their_own_labels(stores: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    images, labels = stores["synthetic"]
    data = shown()
    drawn = [where(view, images) for view in data.synthetic]
    assert len(set(drawn)) == K_DIFF
    assert list(data.synthetic_labels) == [CLASSES[labels[index]] for index in drawn]
    assert len(set(data.synthetic_labels)) > 1


def test_mixtures_are_of_the_parents_that_are_named(stores: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    data = shown()
    members = np.concatenate([data.base, data.synthetic])
    one_hot = np.eye(len(CLASSES))[[CLASSES.index(name) for name in (data.label,) * K_BASE + data.synthetic_labels]]
    assert data.pairs is not None
    assert data.mixed.shape == (K_SELF, 3, PIXELS, PIXELS)
    first, second = data.pairs.T
    weight = data.weights[:, None]
    np.testing.assert_allclose(data.targets, weight * one_hot[first] + (1 - weight) * one_hot[second], atol=1e-6)
    weight = weight[:, None, None]
    np.testing.assert_allclose(data.mixed, weight * members[first] + (1 - weight) * members[second], atol=1e-6)
    assert len({*map(tuple, data.pairs)}) > 1


@pytest.mark.parametrize("seed", [7, 8])
def test_views_are_those_of_the_runs_first_step(seed: int) -> None:
    made = catalogue(seed=seed)
    (run,) = made.figure_experiments("1").values()
    data = load_data(run, "demo")
    # In other company than alone: an example's draws are its own.
    part = np.array([3, 12, 20])
    expected = make_views(data.private, part, view_settings(run), KeyedRandom(run.seed, 0, part), data.mixed_in)
    found = views_of_one_example(made)
    assert run.seed == seed
    assert np.array_equal(found.pairs, expected.pairs[1].numpy())
    assert np.array_equal(found.weights, expected.weights[1].numpy())
    pixels = np.concatenate([found.base, found.synthetic, found.mixed])
    np.testing.assert_allclose(pixels, expected.images[1].numpy(), atol=1e-6)


def test_what_is_mixed_in_may_be_the_other_half(stores: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Method C of Table 10: images of S2, and the example is one of S1."""
    images, labels = stores["train"]
    data = shown(fixed={"subset": "S1", "mix_with": "S2"})
    example = where(data.image, images)
    others = [where(view, images) for view in data.synthetic]
    assert data.label == CLASSES[labels[example]]
    assert list(data.synthetic_labels) == [CLASSES[labels[index]] for index in others]
    assert example not in others


def test_the_csv_has_a_line_for_each_view() -> None:
    data = shown()
    lines = list(csv.DictReader(io.StringIO(views_csv(data))))
    assert [int(line["view"]) for line in lines] == list(range(K_BASE + K_DIFF + K_SELF))
    plain, mixed = lines[: K_BASE + K_DIFF], lines[K_BASE + K_DIFF :]
    assert [(line["kind"], line["label"]) for line in plain] == [
        *[("base", data.label)] * K_BASE,
        *[("synthetic", name) for name in data.synthetic_labels],
    ]
    assert {(line["first"], line["second"], line["lambda"]) for line in plain} == {("", "", "")}
    assert data.pairs is not None
    assert [(int(line["first"]), int(line["second"])) for line in mixed] == [tuple(pair) for pair in data.pairs]
    assert [float(line["lambda"]) for line in mixed] == pytest.approx(data.weights.tolist(), abs=1e-6)
    names = (data.label,) * K_BASE + data.synthetic_labels
    for line in mixed:
        assert line["kind"] == "mixed"
        shares: dict[str, float] = dict.fromkeys((names[int(line["first"])], names[int(line["second"])]), 0.0)
        shares[names[int(line["first"])]] += float(line["lambda"])
        shares[names[int(line["second"])]] += 1 - float(line["lambda"])
        words = line["label"].split(" + ")
        if len(words) == 1:
            assert words[0] in shares
            assert shares[words[0]] == pytest.approx(1, abs=1e-4)
        for share, name in (word.split(" ") for word in words if " " in word):
            assert float(share) == pytest.approx(shares[name], abs=0.011)


def test_without_mixtures_the_csv_has_plain_views_alone() -> None:
    text = views_csv(shown(methods=["plain"]))
    assert [line.split(",")[1] for line in text.splitlines()[1:]] == ["base"] * K_BASE


# Figure 2 -------------------------------------------------------------------------------------------------------------
@pytest.fixture
def leave_records() -> Callable[[Catalogue], dict[tuple[str, str], np.ndarray]]:
    def leave(made: Catalogue) -> dict[tuple[str, str], np.ndarray]:
        """A record for each panel with gradients and an ε of its own, by data set and method."""
        found = {}
        for index, (names, run) in enumerate(made.figure_experiments("2").items()):
            assert isinstance(run, Experiment)
            path = GradientRecord(experiment=run).path(made.scale)
            path.parent.mkdir(parents=True, exist_ok=True)
            draw = np.random.default_rng(index)
            found[names] = np.abs(draw.normal(0, 1e-3 * (index + 1), (2, 50))).astype(np.float32)
            np.savez_compressed(path, magnitudes=found[names], epsilon=0.9 + index / 100)
        return found

    return leave


def test_each_panel_shows_its_own_run(
    leave_records: Callable[[Catalogue], dict[tuple[str, str], np.ndarray]],
) -> None:
    made = catalogue()
    written = leave_records(made)
    panels = gradient_panels(made)
    labels = {"insects": "CIFAR-10", "trees": "Trees", "plain": "Self-Aug", "diff": "DP-Mix_Diff"}
    assert [(panel.dataset, panel.method) for panel in panels] == [(labels[one], labels[two]) for one, two in written]
    assert len(panels) == 4
    for index, (panel, magnitudes) in enumerate(zip(panels, written.values(), strict=True)):
        assert np.array_equal(panel.gradients, magnitudes)
        assert (panel.epsilon, panel.paper_sd) == (0.9 + index / 100, None)


def test_the_papers_deviations_stand_beside_the_papers_scale(
    leave_records: Callable[[Catalogue], dict[tuple[str, str], np.ndarray]],
) -> None:
    made = catalogue("paper")
    leave_records(made)
    panels = gradient_panels(made)
    assert [panel.paper_sd for panel in panels] == [2.16e-3, 9.59e-4, None, None]


# Files ----------------------------------------------------------------------------------------------------------------
def test_the_files_hold_what_the_figures_show(
    leave_records: Callable[[Catalogue], dict[tuple[str, str], np.ndarray]],
) -> None:
    made = catalogue()
    written = leave_records(made)
    for number in ("1", "2"):
        draw_figure(number, made)
    folder = Path("results/demo/figures")
    assert sorted(path.name for path in folder.iterdir()) == [
        f"figure{number}.{kind}" for number in (1, 2) for kind in ("csv", "pdf", "png")
    ]
    assert (folder / "figure1.csv").read_text(encoding="utf-8") == views_csv(shown())
    with (folder / "figure2.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 4
    for index, (line, magnitudes) in enumerate(zip(lines, written.values(), strict=True)):
        assert float(line["sd"]) == pytest.approx(np.std(np.mean(magnitudes.astype(float), axis=0)), rel=1e-5)
        assert float(line["epsilon"]) == pytest.approx(0.9 + index / 100, abs=2e-6)
        assert (line["dataset"], line["paper_sd"]) == (["CIFAR-10", "Trees"][index // 2], "")
