"""Jobs make what a call needs, each stream once, and keep their names."""

import copy
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.artefacts.measurements import CanaryAttack, Distance, ZeroShot
from dpmix.artefacts.plan_file import PlanFile
from dpmix.artefacts.published_privacy import PublishedPrivacy
from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.jobs import Job, check_words, jobs, needed_for
from dpmix.errors import ParamsError
from dpmix.params.models import EncoderSpec
from dpmix.params.read import parse

KINDS: tuple[tuple[type[Artefact], ...], ...] = (
    (PlanFile, PublishedPrivacy),
    (Selection,),
    (Experiment, GradientRecord),
    (ZeroShot,),
    (Distance,),
    (CanaryAttack,),
)

MADE_BY_JOBS = tuple(kind for group in KINDS for kind in group)


def jobs_of(catalogue: Catalogue, *targets: str, missing_only: bool = True) -> list[Job]:
    """All jobs of a call with these targets."""
    needed = needed_for(catalogue, targets)
    return [job for kinds in KINDS for job in jobs(catalogue, *kinds, needed=needed, missing_only=missing_only)]


def training(found: Iterable[Job]) -> list[Job]:
    return [job for job in found if isinstance(job.artefacts[0], Experiment | Selection | GradientRecord)]


def run_of(artefact: Artefact) -> Experiment:
    run = artefact.experiment if isinstance(artefact, Selection | GradientRecord) else artefact
    assert isinstance(run, Experiment)
    return run


CALLS = [("table3",), ("table3", "table9"), ("table1", "figure2"), ("all_tables",), ()]


# What is needed -------------------------------------------------------------------------------------------------------
def needed_by(catalogue: Catalogue, *targets: str) -> set[str]:
    """The same from the artefacts themselves."""
    found, left = set[str](), [artefact for target in targets for artefact in catalogue.targets[target]]
    while left:
        artefact = left.pop()
        if catalogue.path(artefact) not in found:
            found.add(catalogue.path(artefact))
            left += artefact.inputs()
    return found


@pytest.mark.parametrize(
    ("words", "targets"),
    [
        (["table9"], ["table9"]),
        (["table9", "figure2"], ["table9", "figure2"]),
        (["results/demo/tables/table9.csv"], ["table9"]),
        (["./results/demo/tables/../figures/figure2.pdf"], ["figure2"]),
        (["all_figures"], ["figure1", "figure2"]),
        (["claims"], ["claims"]),
        (["results/demo/claims.md"], ["claims"]),
        (["./results/demo/claims.json", "table9"], ["claims", "table9"]),
        (["images", "table9", "run-tiny-vit-01234567"], ["table9"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_call_needs_what_its_targets_show(
    catalogues: dict[str, Catalogue], words: list[str], targets: list[str]
) -> None:
    demo = catalogues["demo"]
    assert needed_for(demo, words) == needed_by(demo, *targets) < set(demo.artefacts)


def test_a_misspelt_target_is_answered_with_the_nearest(
    catalogues: dict[str, Catalogue], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    demo = catalogues["demo"]
    for word, meant in (("tabel9", "table9"), ("all_tabels", "all_tables"), ("reprot", "report"), ("clams", "claims")):
        with pytest.raises(ParamsError) as caught:
            check_words(demo, ["figure2", word], {"figure2"})
        assert str(caught.value) == f"no target is called {word!r}; did you mean {meant!r}?"
    # Rules, paths, and what is like no target.
    check_words(demo, ["tabel9", "results/demo/tables/tabel9.csv", "./tabel8", "images"], {"tabel9"})
    (tmp_path / "tabel9").touch()
    check_words(demo, ["tabel9"], set())


def test_words_that_are_no_targets_are_refused_in_one_line(catalogues: dict[str, Catalogue]) -> None:
    for word, words in (
        ("", "a target is empty, such as a variable of the shell that is not set; leave it out"),
        ("scale=paper", "'scale=paper' is no target; write --config scale=paper, and targets before it or after --"),
    ):
        with pytest.raises(ParamsError) as caught:
            check_words(catalogues["demo"], ["table9", word], {"table9"})
        assert str(caught.value) == words


def test_claims_that_a_scale_has_no_cells_for_are_refused_in_one_line(
    catalogues: dict[str, Catalogue], monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = catalogues["demo"]
    check_words(demo, ["claims"], {"claims"})
    monkeypatch.setattr(demo, "targets", {"table8": demo.targets["table8"]})
    with pytest.raises(ParamsError, match=r"^scale demo has none of the cells that the paper's claims compare; add a"):
        check_words(demo, ["claims"], {"table8"})


def test_stamps_ask_for_their_tables(catalogues: dict[str, Catalogue]) -> None:
    demo = catalogues["demo"]
    stamp = f"results/demo/stamps/table9-{demo.fingerprint('table9')}"
    assert needed_for(demo, [stamp]) == needed_by(demo, "table9")


def test_all_tables_are_all_but_figures(catalogues: dict[str, Catalogue]) -> None:
    demo = catalogues["demo"]
    tables = {target for target in demo.targets if target.startswith("table")}
    assert needed_for(demo, ["all_tables"]) == needed_by(demo, *tables) < set(demo.artefacts)


@pytest.mark.parametrize(
    "word", ["", "all", "report", "results/demo/report/index.html", "table99", "results/paper/tables/table9.csv"]
)
def test_everything_is_needed_otherwise(catalogues: dict[str, Catalogue], word: str) -> None:
    """Also for a word that says nothing: it may be a job's name."""
    demo = catalogues["demo"]
    assert needed_for(demo, [word] if word else []) == set(demo.artefacts)


def test_a_result_needs_itself_and_what_it_is_made_from(catalogues: dict[str, Catalogue]) -> None:
    demo = catalogues["demo"]
    (run, *_) = [one for one in demo.of(Experiment) if isinstance(run_of(one).learning_rate, Selection)]
    path, found = demo.path(run), needed_for(demo, [demo.path(run)])
    rate = run_of(run).learning_rate
    assert isinstance(rate, Selection)
    assert found == {path, demo.path(rate), *demo.inputs(path), *demo.inputs(demo.path(rate))} | {
        source for one in demo.inputs(path) for source in needed_for(demo, [one])
    }


# What jobs make -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scale", ["demo", "paper"])
@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_the_jobs_of_a_call_make_what_it_needs_once(
    catalogues: dict[str, Catalogue], scale: str, call: tuple[str, ...]
) -> None:
    catalogue = catalogues[scale]
    found = jobs_of(catalogue, *call)
    needed = {path for path in needed_for(catalogue, call) if isinstance(catalogue.artefacts[path], MADE_BY_JOBS)}
    assert sorted(path for job in found for path in job.paths) == sorted(needed)
    assert all(job.paths == tuple(map(catalogue.path, job.artefacts)) for job in found)
    assert len({job.name for job in found}) == len(found) > 0


def by_stream(raw: dict[str, Any]) -> Catalogue:
    changed = copy.deepcopy(raw)
    changed["scales"]["paper"]["bundle"]["by"] = "stream"
    return Catalogue(parse(changed), "paper")


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_by_images_all_streams_on_the_same_images_are_one_job(paper: Catalogue, call: tuple[str, ...]) -> None:
    """Of one encoder, all seeds and both halves among them; tuning before, in a job of its own. Networks stay apart."""
    found = training(jobs_of(paper, *call))
    heads = [job for job in found if run_of(job.artefacts[0]).model.frozen]
    kinds = [
        {(job.name.split("-")[0], run_of(one).model.name, run_of(one).dataset.name) for one in job.artefacts}
        for job in heads
    ]
    assert all(len(kind) == 1 for kind in kinds)
    assert len(set.union(set(), *kinds)) == len(heads)
    several = [job for job in heads if len({run_of(one).seed for one in job.artefacts}) == 3]
    assert len(several) == sum(job.name.startswith("run-") for job in heads) or call == ("table1", "figure2")


def test_by_images_a_release_shares_a_job_with_no_other(paper: Catalogue) -> None:
    run = next(one for one in paper.of(Experiment) if isinstance(one, Experiment) and one.model.frozen)
    assert run.job_share().images == run.images().hash
    assert run.model_copy(update={"release": True}).job_share().images == ""


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_a_call_passes_over_each_stream_once(raw: dict[str, Any], call: tuple[str, ...]) -> None:
    """Table 3 shares streams with eight other tables; no call must pass over one of them once for each."""
    paper = by_stream(raw)
    found = training(jobs_of(paper, *call))
    streams = [{run_of(one).stream() for one in job.artefacts} for job in found]
    assert all(len(of_job) == 1 for of_job in streams)
    counts = Counter((stream, job.name.startswith("tune-")) for job, (stream,) in zip(found, streams, strict=True))
    assert set(counts.values()) == {1}
    # Runs from scratch and gradient records share nothing.
    assert max(len(job.artefacts) for job in found) > 1 or call == ("table1", "figure2")


def test_on_one_machine_a_model_and_seed_are_one_job(catalogues: dict[str, Catalogue]) -> None:
    """And all seeds of a model in JAX, which is compiled for a process."""
    found = [job for job in training(jobs_of(catalogues["demo"])) if job.name.startswith("run-")]
    runs = [list(map(run_of, job.artefacts)) for job in found]
    shared = [{(run.model.name, run.engine, run.seed if run.engine == "torch" else None) for run in of} for of in runs]
    assert any(len({run.seed for run in of if run.engine == "jax"}) == 5 for of in runs)
    assert all(len(of_job) == 1 for of_job in shared)
    assert len(set.union(*shared)) == len(found)


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_on_a_cluster_every_network_from_scratch_is_a_job(paper: Catalogue, call: tuple[str, ...]) -> None:
    sizes = [
        len(job.artefacts)
        for job in training(jobs_of(paper, *call))
        if any(isinstance(one, Experiment) and not isinstance(one.model, EncoderSpec) for one in job.artefacts)
    ]
    assert sizes == [1] * len(sizes)


# Names ----------------------------------------------------------------------------------------------------------------
def touch(paths: Iterable[str]) -> None:
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_what_is_there_is_left_alone_and_names_stay(catalogues: dict[str, Catalogue], call: tuple[str, ...]) -> None:
    """A job on a cluster is started by its name, after others of its files may have come to be."""
    demo = catalogues["demo"]
    before = jobs_of(demo, *call)
    large = max(before, key=lambda job: len(job.paths))
    assert len(large.paths) > 2
    touch(large.paths[:2])
    after = {job.name: job.paths for job in jobs_of(demo, *call)}
    assert after.pop(large.name) == large.paths[2:]
    assert after == {job.name: job.paths for job in before if job.name != large.name}
    touch(large.paths)
    assert large.name not in {job.name for job in jobs_of(demo, *call)}
    everything = jobs_of(demo, *call, missing_only=False)
    assert {job.name: job.paths for job in everything} == {job.name: job.paths for job in before}


def with_a_row(raw: dict[str, Any], scale: str, table: str, method: str) -> Catalogue:
    """With one more row in a table whose rows are methods, or data sets and methods."""
    changed = copy.deepcopy(raw)
    changed["methods"]["thrice"] = {"label": "Three copies", "k_self": 3}
    (axis,) = [axis for axis in changed["scales"][scale]["tables"][table]["rows"] if "method" in axis]
    assert method not in axis["method"]
    axis["method"].append(method)
    return Catalogue(parse(changed), scale)


def named(catalogue: Catalogue, *targets: str) -> dict[str, tuple[str, ...]]:
    return {job.name: job.paths for job in jobs_of(catalogue, *targets)}


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_a_row_with_a_new_method_changes_the_jobs_of_its_streams_and_no_other(
    raw: dict[str, Any], paper: Catalogue, call: tuple[str, ...]
) -> None:
    changed = with_a_row(raw, "paper", "3", "thrice")
    before, after = named(paper, *call), named(changed, *call)
    assert set(paper.artefacts) < set(changed.artefacts)
    new = {name: set(after[name]) for name in after if name not in before}
    gone = {name: set(before[name]) for name in before if name not in after}
    assert all(before[name] == after[name] for name in before if name not in gone)
    assert bool(new) == (call != ("table1", "figure2"))
    # What was to be made by then is made with what is new.
    added = set.union(set(), *new.values()) - set.union(set(), *gone.values())
    assert all("/thrice/" in path for path in added)
    assert all(any(paths < others for others in new.values()) for paths in gone.values())
    # Once the old methods are there, the new one is all that is left of its streams.
    touch(path for paths in gone.values() for path in paths)
    left = {name: set(paths) for name, paths in named(changed, *call).items() if name in new}
    assert {path for paths in left.values() for path in paths} == added


def test_on_one_machine_it_changes_the_jobs_that_take_it_and_no_other(
    raw: dict[str, Any], catalogues: dict[str, Catalogue]
) -> None:
    before, after = named(catalogues["demo"]), named(with_a_row(raw, "demo", "3", "thrice"))
    assert all("/thrice/" in " ".join(paths) for name, paths in after.items() if name not in before)
    same = {name: paths for name, paths in before.items() if name in after}
    assert same == {name: after[name] for name in same}
    assert 0 < len(same) < len(before)


def test_a_row_that_another_table_has_too_changes_no_job(raw: dict[str, Any], paper: Catalogue) -> None:
    """Who needs a result is no part of a job's name, nor are the other tables' jobs touched in a call of one."""
    changed = with_a_row(raw, "paper", "12", "mixed-ghost")
    assert changed.needed_by != paper.needed_by
    assert set(changed.artefacts) == set(paper.artefacts)
    for call in ((), ("all_tables",), ("table3",), ("table9", "figure2")):
        assert named(changed, *call) == named(paper, *call)
