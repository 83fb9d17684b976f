"""Images through an extractor and bytes on disk, by hand."""

from pathlib import Path

from dpmix.artefacts.measurements import Distance
from dpmix.catalogue.catalogue import Catalogue
from dpmix.costs.amounts import distance_passes
from dpmix.costs.estimate import estimates


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
