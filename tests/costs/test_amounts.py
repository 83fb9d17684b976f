"""Images through an extractor and bytes on disk, by hand."""

from pathlib import Path

from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.measurements import Distance
from dpmix.catalogue.catalogue import Catalogue
from dpmix.costs.amounts import distance_passes, evaluation_passes, views_trained
from dpmix.costs.estimate import estimates
from dpmix.costs.operations import encoder_cost, network_cost
from dpmix.costs.speed import GPUS
from dpmix.views.settings import ViewSettings
from dpmix.views.union import ViewUnion, Wanted


def test_distances_pass_both_sides(demo: Catalogue, one_flop: None) -> None:
    views = [one for one in demo.of(Distance) if isinstance(one, Distance) and one.first == "views"]
    ks = {(one.views.method, one.views.k_diff): one.views.views for one in views if one.views}
    assert ks == {("self-aug", 0): 4, ("dp-mix-self", 0): 8, ("dp-mix-diff", 2): 10, ("dp-mix-diff", 6): 14}
    for one in views:
        assert one.views is not None
        second = {"train": one.dataset.train, "test": 360}[one.second]
        assert distance_passes(one) == one.dataset.train * ks[one.views.method, one.views.k_diff] + second
        some = one.model_copy(update={"samples": 50})
        assert distance_passes(some) == 50 * ks[one.views.method, one.views.k_diff] + 50
    (row,) = estimates(demo, ["table8"])
    assert row.passes["tiny-vit"] == 1437 + 360 + 1437 + 1437 + 300 + 360 + 300 + 1437


def test_the_papers_images_on_disk(paper: Catalogue, one_flop: None) -> None:
    """Caltech 256 at 224 px with its D, drawn at 512 and kept at 256; the archive and its contents."""
    (row,) = estimates(paper, ["table13"])
    assert row.disk["images"] == (24485 + 6122 + 24485) * (3 * 224**2 + 8)
    assert row.disk["synthetic"] == 24485 * 3 * 256**2
    assert row.disk["downloads"] == 2 * 1183 * 10**6
    assert row.disk["weights"] == 1_370_000_000 * 4


def test_a_download_that_is_unpacked_is_not_fetched_again(paper: Catalogue, one_flop: None, tmp_path: Path) -> None:
    Path("data/raw/caltech256/256_ObjectCategories").mkdir(parents=True)
    (row,) = estimates(paper, ["table13"])
    assert row.disk["downloads"] == 0
    (whole,) = estimates(paper, ["table13"], missing_only=False)
    assert whole.disk["downloads"] == 2 * 1183 * 10**6


# What docs/choices.md counts ------------------------------------------------------------------------------------------
CROPS = 81 * 2


def different(k_base: int, images: int, epochs: int) -> float:
    """How many of the 162 crops of an image a run draws, by counting steps: sampled at rate q, then K_BASE draws."""
    rate, steps = 1000 / images, epochs * images // 1000
    missed = 1.0  # the probability that one crop has not been drawn yet
    for _ in range(steps):
        missed *= 1 - rate + rate * (1 - 1 / CROPS) ** k_base
    return CROPS * (1 - missed)


def test_the_page_counts_the_crops_that_repeat(paper: Catalogue, repository: Path) -> None:
    page = " ".join((repository / "docs" / "choices.md").read_text(encoding="utf-8").split())
    of_cifar, of_eurosat, of_table_5 = different(16, 50000, 10), different(16, 21600, 20), different(36, 50000, 10)
    assert f"160 draws (K_BASE 16, 10 epochs) {of_cifar:.0f} are different" in page
    assert f"of EuroSAT's 320 (20 epochs) {of_eurosat:.0f}; of 360 in Table 5 (K_BASE 36) {of_table_5:.0f}" in page
    moves = {"transforms": ("crop", "flip"), "padding": 4}
    plain, own = Wanted(ViewSettings(1)), Wanted(ViewSettings(16, **moves))  # type: ignore[arg-type]
    a, b = Wanted(ViewSettings(16, 0, 16, **moves)), Wanted(ViewSettings(16, 2, 18, **moves), "D")  # type: ignore[arg-type]
    saved = 1 - of_cifar / 160
    share = 16 * saved / ViewUnion.of([plain, own, a, b]).views
    assert f"{100 * saved:.0f} % of a run's base views, {100 * share:.0f} % of what Table 3 passes" in page
    train = [50000, 50000, 21600, 24485, 87003, 3680]
    models = [paper.params.models[name] for name in ("vit-b-16", "convnext")]
    flops = sum(encoder_cost(model.architecture).forward for model in models)  # type: ignore[union-attr]
    hours = CROPS * sum(train) * flops / (0.4 * GPUS["a100"].half * 1e12) / 3600
    size = CROPS * sum(train) * 2 * (512 + 640) / 1e9  # bfloat16 embeddings
    assert f"would take {hours:.1f} GPU hours and {size:.0f} GB" in page


def test_the_page_says_what_measuring_accuracy_costs_from_scratch(paper: Catalogue, repository: Path) -> None:
    page = " ".join((repository / "docs" / "choices.md").read_text(encoding="utf-8").split())
    trained = tested = 0.0
    for run in paper.of(Experiment):
        assert isinstance(run, Experiment)
        if not run.model.frozen:
            cost = network_cost(run.model, run.dataset.channels, run.dataset.classes)
            trained += views_trained(run) * cost.training
            tested += evaluation_passes(run) * cost.forward
    assert f"Measuring accuracy after each epoch is {100 * tested / (trained + tested):.1f} % of the operations" in page
