"""Images through an extractor and bytes on disk, by hand."""

from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.artefacts.measurements import Distance
from dpmix.artefacts.repeated import Shown, examples_shown, plain_views, views_saved
from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.jobs import jobs, needed_for
from dpmix.costs.amounts import distance_passes, evaluation_passes, views_trained
from dpmix.costs.estimate import Estimate, estimates
from dpmix.costs.operations import Costs, network_cost
from dpmix.costs.speed import speed
from dpmix.params.read import parse
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


def test_views_that_come_again_are_counted_once(demo: Catalogue) -> None:
    """Of heads; a network from scratch passes whatever a step shows. The whole of few sets is encoded ahead."""
    of_heads = next(one for one in demo.of(Experiment) if isinstance(one, Experiment) and one.model.frozen)
    scratch = next(one for one in demo.of(Experiment) if isinstance(one, Experiment) and not one.model.frozen)
    n, views = of_heads.population, of_heads.views
    for view_sets, epochs in ((1, 40), (2, 40), (3, 2)):
        run = of_heads.model_copy(update={"view_sets": view_sets, "epochs": epochs})
        missed = (1 - run.batch_size / n / view_sets) ** (epochs * n // run.batch_size)
        encoded = view_sets * n * views * (1.0 if missed <= 0.1 else 1 - missed)
        assert views_trained(run) == pytest.approx(encoded)
    assert views_trained(scratch.model_copy(update={"view_sets": 1})) == views_trained(scratch)


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


@pytest.fixture(scope="module")
def hours(repository: Path) -> dict[tuple[str, str], float]:
    """A100-hours of the paper's scale as it is, with a job for each stream, and with nothing kept."""
    found = {}
    raw = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    paper = raw["scales"]["paper"]
    for name, changes in (("images", {}), ("stream", {"by": "stream"}), ("nothing", {"kept_gigabytes": 0})):
        changed = {**raw, "scales": {"paper": {**paper, "bundle": {**paper["bundle"], **changes}}}}
        catalogue = Catalogue(parse({**changed, "scale": "paper"}), "paper")
        costs = Costs(catalogue)
        a100 = speed("a100", 0.4, [], costs)
        for row in estimates(catalogue, ["table3", "table9", "table10", "claims"], costs=costs, missing_only=False):
            found[name, row.target] = sum(a100.hours(row, costs).values())
    return found


def test_the_page_says_what_kept_crops_save(hours: dict[tuple[str, str], float], repository: Path) -> None:
    page = (repository / "docs" / "choices.md").read_text(encoding="utf-8")
    names = {
        "table3": "Table 3", "table9": "Table 9", "table10": "Table 10", "claims": "all that the claims compare",
    }  # fmt: skip
    for target, name in names.items():
        row = [f"{hours[kept, target]:.1f}" for kept in ("nothing", "stream", "images")]
        assert f"| {name} | {' | '.join(row)} |" in page


def test_the_page_says_where_the_hours_are(
    paper: Catalogue, hours: dict[tuple[str, str], float], repository: Path
) -> None:
    """What heads pass, by kind of view, from the streams themselves; and the longest job of heads."""
    page = " ".join((repository / "docs" / "choices.md").read_text(encoding="utf-8").split())
    costs = Costs(paper)
    a100 = speed("a100", 0.4, [], costs)

    def of(model: str, views: float) -> float:
        cost = costs.of(model)
        assert cost is not None
        return views * cost.forward / a100.per_second(model, costs) / 3600

    kinds, longest, once = Counter[str](), Counter[str](), 0.0
    together: dict[tuple[str, str], list[list[Shown | None]]] = defaultdict(list)
    needed = needed_for(paper, ["claims"])
    for kind in ((Selection,), (Experiment, GradientRecord)):
        for by in ("stream", "images"):
            changed = paper.spec.bundle.model_copy(update={"by": by})
            with_jobs = SimpleNamespace(artefacts=paper.artefacts, spec=SimpleNamespace(bundle=changed))
            for job in jobs(with_jobs, *kind, needed=needed, missing_only=False):  # type: ignore[arg-type]
                row = Estimate("job")
                row.add_job(job.artefacts, costs)
                runs = [one if isinstance(one, Experiment) else one.experiment for one in job.artefacts]  # type: ignore[attr-defined]
                name = runs[0].model.name
                if not runs[0].model.frozen:
                    kinds["networks"] += sum(a100.hours(row, costs).values()) / 2
                    continue
                longest[by] = max(longest[by], sum(a100.hours(row, costs).values()))
                if by == "stream":
                    shown = plain_views(runs)
                    union = ViewUnion.of([one.wanted_views() for one in runs])
                    bases = len(union.bases)
                    passed = examples_shown(runs[0]) * union.views
                    finite = [sum(one.draws for one in part if one) for part in (shown[:bases], shown[bases:])]
                    kinds["base"] += of(name, finite[0])
                    kinds["D"] += of(name, finite[1])
                    kinds["others"] += of(name, passed - sum(finite))
                    together[name, runs[0].images().hash].append(shown)
    for (name, _), streams in together.items():
        once += of(
            name, sum(one.draws for stream in streams for one in stream if one) - sum(views_saved(streams, 1e12))
        )
    whole = hours["nothing", "claims"]
    heads = kinds["base"] + kinds["D"] + kinds["others"]
    assert (
        f"Of the {whole:.1f} hours {kinds['networks']:.1f} are for networks from scratch, which share "
        f"nothing, {whole - kinds['networks'] - heads:.1f} for drawing D and for measuring, and "
        f"{heads:.1f} for views of heads: {kinds['others']:.1f} for mixtures and pictures that never come again, "
        f"{kinds['base']:.1f} for base views and {kinds['D']:.1f} for images of D."
    ) in page
    assert f"The longest would take {longest['images']:.0f} hours on an A100" in page
    assert f"it is {longest['stream']:.0f}." in page
    best = whole - kinds["base"] - kinds["D"] + once
    assert f"to save {hours['images', 'claims'] - best:.0f} hours" in page


def test_the_goals_of_the_papers_scale_are_reached(hours: dict[tuple[str, str], float]) -> None:
    for target, most in (("table3", 100), ("table9", 16), ("table10", 65), ("claims", 340)):
        assert hours["images", target] <= most


def test_the_page_of_the_rehearsal_says_what_the_whole_takes(paper: Catalogue, repository: Path) -> None:
    page = (repository / "docs" / "rehearsal.md").read_text(encoding="utf-8")
    costs = Costs(paper)
    *_, row = estimates(paper, costs=costs, missing_only=False)
    fetched = sum(row.disk[one] for one in ("downloads", "weights")) / 1e9
    hours = sum(speed("a100", 0.4, [], costs).hours(row, costs).values())
    assert f"downloads of {fetched:.0f} GB and some {round(hours, -2):.0f} GPU hours" in page


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
