"""How many plain views of streams of heads come again, so that their features need not be computed twice.

A view by crop and flip is one of finitely many pictures of its image (`dpmix.views.finite`). Of the draws that streams
make of them, this counts in expectation how many are different. `dpmix.training.kept_crops` keeps features by the same
count that `dpmix plan` shows. Mixtures have weights of their own, and never come again.

A run for release has no part in it, nor has one by person, whose views are of several images, nor one with `view_sets`,
whose views are kept whole.
"""

import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dpmix.artefacts.experiment import Experiment
from dpmix.privacy.plan import Plan
from dpmix.views.finite import pictures
from dpmix.views.settings import ViewSettings
from dpmix.views.union import ViewUnion

PAYS = 0.9
"""Features are kept of sets of pictures of which at most this share of all draws is expected to be different."""


class Pictures(NamedTuple):
    """All pictures that some transforms make of a store's images.

    Attributes:
        store: the hash of the store.
        transforms: in their order.
        padding: of the crop.
    """

    store: str
    transforms: tuple[str, ...]
    padding: int


@dataclass(frozen=True)
class Shown:
    """The draws of one stream from such a set of pictures.

    Attributes:
        of: the pictures.
        images: how many images the store has.
        each: how many pictures an image has, all equally likely.
        first: where the part of the store begins that is drawn from, its images being in some public order.
        last: where it ends, exclusive.
        group: names the images of this part that the stream has, which may not be all; streams that have the same ones
            have equal names.
        share: how many of the part's images these are, in (0, 1].
        draws: the expected number of views.
        missed: the probability that one picture, of an image that the stream has, is never drawn.
    """

    of: Pictures
    images: int
    each: int
    first: int
    last: int
    group: Hashable
    share: float
    draws: float
    missed: float


def examples_shown(experiment: Experiment) -> float:
    """T q N, the expected number of examples (or microbatches) that the steps of a run show."""
    plan = sampled(experiment)
    return plan.steps * plan.sampling_rate * plan.units


def sampled(experiment: Experiment) -> Plan:
    """A plan with the steps and the sampling rate of a run, and none of what is a head's own."""
    return Plan.make(
        population=experiment.population,
        batch_size=experiment.batch_size,
        epochs=experiment.epochs,
        clip_norm=1.0,
        noise_multiplier=1.0,
        delta=1e-5,
        microbatch_size=experiment.microbatch_size,
    )


def plain_views(experiments: Sequence[Experiment], processes: int = 1) -> list[Shown | None]:
    """What one process of a stream draws, for each group of base views of its methods' union, then of images of D.

    None stands for a group of which no two views are expected to be the same picture.

    Args:
        experiments: one of each method. Of those whose views cannot be kept the list is empty.
        processes: how many share each sample.
    """
    first = experiments[0]
    kept = first.model.frozen and not first.release and first.unit == "image" and first.microbatch_size == 1
    if not kept or min(one.view_sets for one in experiments):
        return []
    wanted = [one.wanted_views() for one in experiments]
    union, by_source = ViewUnion.of(wanted), {its.source: one for one, its in zip(experiments, wanted, strict=True)}
    found = [_of_base(first, settings, processes) for settings in union.bases]
    return found + [_of_synthetic(by_source[name], settings, processes) for name, settings in union.synthetics]


def _of_base(run: Experiment, settings: ViewSettings, processes: int) -> Shown | None:
    each = pictures(settings)
    if each is None:
        return None
    plan, images = sampled(run), run.dataset.records
    rate, unseen = plan.sampling_rate / processes, (1 - 1 / each) ** settings.k_base
    missed = (1 - rate + rate * unseen) ** plan.steps
    if run.batches == "fixed-order":  # each record is in one batch of each epoch
        missed = (1 - 1 / processes + unseen / processes) ** (plan.steps * plan.sampling_rate)
    last = run.subset_size
    return Shown(
        Pictures(run.images().hash, settings.transforms, settings.padding), images, each, 0, last,
        (run.subset, run.holdout), run.population / last, examples_shown(run) * settings.k_base / processes, missed,
    )  # fmt: skip


def _of_synthetic(run: Experiment, settings: ViewSettings, processes: int) -> Shown | None:
    each = pictures(settings)
    if each is None:
        return None
    if run.mix_with == "S2":
        store, images = run.images().hash, run.dataset.records
        first, last = images // 2, images // 2 * 2
    else:
        synthetic = run.synthetic_images()
        assert synthetic is not None
        assert run.synthetic is not None
        store, images, first, last = synthetic.hash, run.synthetic.size, 0, run.synthetic_size
    asked = examples_shown(run) / processes
    missed = (1 - settings.k_diff / (last - first) / each) ** asked
    where = Pictures(store, settings.transforms, settings.padding)
    return Shown(where, images, each, first, last, None, 1.0, asked * settings.k_diff, missed)


def different(shown: Iterable[Shown]) -> float:
    """How many different pictures some streams draw from one set of pictures, in expectation.

    >>> one = Shown(Pictures("store", ("flip",), 0), 100, 2, 0, 100, "all", 1.0, 300.0, 0.25)
    >>> different([one]), different([one, one])  # of 200 pictures, each is missed by one stream in four
    (150.0, 187.5)
    """
    several = list(shown)
    ends = sorted({end for one in several for end in (one.first, one.last)})
    total = 0.0
    for first, last in itertools.pairwise(ends):
        missed_by: dict[Hashable, tuple[float, float]] = {}
        for one in several:
            if one.first <= first and last <= one.last:
                share, missed = missed_by.get((one.group, one.share), (one.share, 1.0))
                missed_by[one.group, one.share] = share, missed * one.missed
        missed = 1.0
        for share, together in missed_by.values():
            missed *= 1 - share + share * together
        total += (last - first) * several[0].each * (1 - missed)
    return total


def kept_shares(streams: Sequence[Sequence[Shown | None]], room: float) -> Mapping[Pictures, float]:
    """Of which pictures features are kept, and of which share of the store's images.

    Args:
        streams: what each of the streams draws that are trained one after the other (`plain_views`).
        room: how many features can be kept.
    """
    counts = {}
    for of, shown in _by_pictures(streams).items():
        count = different(shown)
        if 0 < count <= PAYS * sum(one.draws for one in shown):
            counts[of] = count
    share = min(1.0, room / sum(counts.values())) if counts else 0.0
    return dict.fromkeys(counts, share) if share else {}


def features_kept(streams: Sequence[Sequence[Shown | None]], room: float) -> float:
    """How many features are kept in expectation; see `kept_shares`."""
    shares = kept_shares(streams, room)
    return sum(shares.get(of, 0.0) * different(shown) for of, shown in _by_pictures(streams).items())


def views_saved(streams: Sequence[Sequence[Shown | None]], room: float) -> list[float]:
    """Of each stream, how many of its plain views need not be encoded, as they were before; in expectation.

    Those that an earlier stream encoded count, too.

    Args:
        streams: what each draws that are trained one after the other, in their order.
        room: how many features can be kept.
    """
    shares, saved = kept_shares(streams, room), []
    before: dict[Pictures, list[Shown]] = {}
    for stream in streams:
        total = 0.0
        for of in {one.of: None for one in stream if one and one.of in shares}:
            drawn = [one for one in stream if one and one.of == of]
            known = before.setdefault(of, [])
            new = different([*known, *drawn]) - (different(known) if known else 0.0)
            total += shares[of] * (sum(one.draws for one in drawn) - new)
            known += drawn
        saved.append(total)
    return saved


def _by_pictures(streams: Sequence[Sequence[Shown | None]]) -> dict[Pictures, list[Shown]]:
    found: dict[Pictures, list[Shown]] = {}
    for stream in streams:
        for one in stream:
            if one:
                found.setdefault(one.of, []).append(one)
    return found
