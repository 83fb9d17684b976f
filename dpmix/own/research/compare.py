"""`compare`: methods × ε with seeds on images of one's own, beside reference rows. Research, not for release.

The heads of a method share each seed's sample and views over all ε, and all methods share each seed's sample and noise,
so that differences are paired by seed.
"""

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dpmix.artefacts.plan_file import PlanFile
from dpmix.errors import DataError, DpmixError, ParamsError, suggestion
from dpmix.execution import Execution, usable_device
from dpmix.files import atomic_directory
from dpmix.own.choices.encoders import encoder_folder
from dpmix.own.choices.numbers import listed_numbers, whole
from dpmix.own.choices.request import Request, request
from dpmix.own.choices.setup import MANIFEST, Setup, learning_rate_of, listed, relative, setup, sizes
from dpmix.own.images.place import beside, root_of
from dpmix.own.research.comparison import (
    EPSILONS,
    METHODS,
    SCALE,
    TABLE,
    Comparison,
    parameters,
    plan_at,
    without_noise,
)
from dpmix.own.training.work_folder import entered, remove
from dpmix.progress import say
from dpmix.wording import counted


def compare(
    images: str | Path,
    *,
    epsilon: Sequence[float] = EPSILONS,
    methods: Sequence[str] | None = None,
    seeds: int = 3,
    output: str | Path | None = None,
    tune: bool = False,
    device: str | None = None,
    **options: Any,
) -> Path:
    """Train each method at each ε with several seeds, and write a table, a curve and the differences of methods.

    Everything is seeded and reads the test images, so no ε covers it: the numbers are for research, not for release.

    Args:
        images: a folder, zip archive or CSV file of images, as `dpmix.data.listing.read_listing` understands them.
        epsilon: values of ε.
        methods: of `self-aug`, `dp-mix-self` and `dp-mix-diff`, which needs `synthetic`; by default the first two, and
            the third one with `synthetic`.
        seeds: how many runs of each, with the seeds 1, 2 and so on.
        output: the folder to write, which must not exist; by default `<images>-comparison`.
        tune: choose each learning rate on held-out training images instead of by the rule that looks at no image.
        device: where to compute, such as `cuda:0`; by default a GPU if there is one.
        options: further arguments of `train` that say what is trained: `delta`, `unit`, `test_share`, `key`,
            `skip_damaged`, `batch_size`, `epochs`, `clip_norm`, `encoder`, `side` or `synthetic`.

    Returns:
        The folder that was written, with `README.md`, `table_comparison.csv`, `.md`, `.tex` and `.json`, and
        `accuracy.png` and `.svg`.

    Raises:
        ParamsError: for values that do not fit together.
        DataError: for images that cannot be used, or an `output` that exists.
        KeyboardInterrupt: if it was stopped; the same call goes on.
    """
    epsilons, seeds = _epsilons(epsilon), whole("seeds", seeds, such_as=3)
    asked = _requests(images, output, epsilons, methods, options)
    first = asked[0]
    if first.output.exists():
        raise DataError(f"{relative(first.output)} exists and is not overwritten; name another: `output='FOLDER'`")
    how, work = Execution(device=usable_device(device)), relative(first.work)
    with entered(first.work):  # from here on no other process is in it, so that it may be removed
        try:
            _made(asked, epsilons, seeds, how, tune=tune)
        except DpmixError:
            if {path.name for path in Path("results", SCALE).glob("*")} <= {PlanFile.folder}:  # nothing was trained
                remove(first.work)
            raise
        except KeyboardInterrupt:
            say(f"stopped; what is made stays in {work}, and the same command goes on with it")
            raise
        remove(first.work)
    return relative(first.output)


def _made(asked: Sequence[Request], epsilons: tuple[float, ...], seeds: int, how: Execution, *, tune: bool) -> None:
    """Train everything in the work folder, and write the output folder."""
    from dpmix.catalogue.catalogue import Catalogue
    from dpmix.own.research import comparison_report
    from dpmix.own.research.reference import logistic_regression
    from dpmix.targets import build_target

    first = asked[0]
    compared = _compared(asked, epsilons, seeds, how, tune=tune)
    catalogue = Catalogue(parameters(compared), SCALE)
    say(
        f"research, not for release: {counted(len(asked), 'method')} × {counted(len(compared.epsilons), 'value')} of ε "
        f"× {counted(seeds, 'seed')}, and the reference rows"
    )
    build_target(f"table_{TABLE}", catalogue, how, quiet=True)
    without = logistic_regression(without_noise(catalogue), SCALE, how)
    with atomic_directory(first.output) as folder:
        for path in sorted(Path("results", SCALE, "tables").glob(f"table_{TABLE}.*")):
            shutil.copyfile(path, folder / path.name)
        comparison_report.write(folder, compared, catalogue, without)


def _compared(
    asked: Sequence[Request], epsilons: tuple[float, ...], seeds: int, how: Execution, *, tune: bool
) -> Comparison:
    """What is compared, with its images listed and its encoder made in the working directory."""
    from dpmix.data.manifest import fingerprint, write_manifest

    listing = listed(asked[0])
    # Other images, or another split of them, have another manifest, so nothing made of them is taken for these.
    manifest = Path(f"{Path(MANIFEST).stem}-{fingerprint(listing)[:16]}.csv")
    setups = {}
    for one in asked:
        made = setup(one, listing)
        made = replace(made, dataset=made.dataset.model_copy(update={"path": str(manifest)}))
        made.experiment(1.0, 0)  # does all fit together?
        setups[made.method] = made
    write_manifest(listing, manifest)
    compared = Comparison(setups, epsilons, seeds, None)
    say(f"{asked[0].images.name}: {sizes(listing, asked[0])}")
    folder = encoder_folder(compared.first.model, SCALE, how)
    return compared if tune else replace(compared, rates=_rates(compared.first, epsilons, folder, how))


def _rates(made: Setup, epsilons: tuple[float, ...], folder: Path, how: Execution) -> dict[float, float]:
    """By ε, infinity included, the learning rate by the rule for the noise of that ε."""
    from dpmix.models.encoder_files import shared_encoder

    dimension = shared_encoder(folder, how).dim
    return {one: learning_rate_of(made, plan_at(made, one), dimension) for one in (*epsilons, math.inf)}


def _requests(
    images: str | Path,
    output: str | Path | None,
    epsilons: tuple[float, ...],
    methods: Sequence[str] | None,
    options: dict[str, Any],
) -> list[Request]:
    """A request for each method."""
    if isinstance(methods, str):
        raise ParamsError(f"methods should be a list of names, not {methods!r}; write ['{methods}']")
    names = list(METHODS)[: 3 if options.get("synthetic") is not None else 2] if methods is None else list(methods)
    for name in names:
        if name not in METHODS:
            raise ParamsError(f"no method is called {name!r}; {suggestion(name, METHODS)}")
    if not names or len(set(names)) < len(names):
        raise ParamsError("a method is to be compared with another; name each once, such as self-aug dp-mix-self")
    out = output if output is not None else beside(root_of(Path(images)), "-comparison")
    return [request(images, out, epsilon=epsilons[0], method=name, research=True, **options) for name in names]


def _epsilons(values: Sequence[float]) -> tuple[float, ...]:
    """The values of ε, ascending, each once.

    Raises:
        ParamsError: for none, or one that is not above 0 and at most 100.
    """
    for value in listed_numbers("epsilon", values, such_as="[1, 4]"):
        if not 0 < value <= 100:
            raise ParamsError(f"epsilon {value:g} is not above 0 and at most 100; give others: `epsilon=[1, 4]`")
    if not values:
        raise ParamsError("no ε is given; give one or more: `epsilon=[1, 4]`")
    return tuple(sorted({float(value) for value in values}))
