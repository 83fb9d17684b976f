"""`python -m benchmarks.paired`: what common random numbers are worth where methods are compared.

With one seed, methods have the same samples, base views and noise (`dpmix.views.union`), so that much of what chance
does to their accuracies is the same, and falls out of the difference. After `make demo`, this trains Self-Aug and
DP-Mix_Self of the demo's Table 3 with many seeds, and compares the standard error of the mean difference, seed by seed,
with the one that the same runs would have with seeds of their own.
"""

import argparse
import statistics
from collections.abc import Sequence

from benchmarks.measure import tell, write_table
from dpmix.artefacts.experiment import Experiment
from dpmix.catalogue.catalogue import Catalogue
from dpmix.execution import Execution
from dpmix.params.read import read
from dpmix.params.settings import Settings
from dpmix.training.data import load_sharing
from dpmix.training.heads import Head, Method, train_methods
from dpmix.training.heads_job import featurizer
from dpmix.training.inputs import learning_rate, load_plan

SCALE, METHODS = "demo", ("self-aug", "dp-mix-self")
HEADER = (
    "data set",
    "encoder",
    "ε",
    "seeds",
    "difference",
    "correlation",
    "paired error",
    "independent error",
    "seeds saved",
)


def accuracies(runs: Sequence[Sequence[Experiment]]) -> list[list[float]]:
    """The accuracies of runs of one stream, each a sequence of heads of one method: [methods][heads]."""
    sets = load_sharing([heads[0] for heads in runs], SCALE)
    methods = [
        Method(
            heads[0],
            data,
            [
                Head(load_plan(one, SCALE), learning_rate(one, SCALE), f"ε={one.epsilon:g} C={one.clip_norm:g}")
                for one in heads
            ],
        )
        for heads, data in zip(runs, sets, strict=True)
    ]
    execution = Execution(physical_batch=320)
    trained = iter(train_methods(methods, featurizer(runs[0][0], sets[0], SCALE, execution), physical_batch=320))
    return [[next(trained).accuracy for _ in heads] for heads in runs]


def compare(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    """Mean difference, correlation, and the standard errors of the mean difference: paired, and of independent seeds.

    Args:
        pairs: of each seed the two accuracies.
    """
    first, second = zip(*pairs, strict=True)
    differences = [b - a for a, b in pairs]
    paired = statistics.stdev(differences) / len(pairs) ** 0.5
    independent = ((statistics.variance(first) + statistics.variance(second)) / len(pairs)) ** 0.5
    return statistics.mean(differences), statistics.correlation(first, second), paired, independent


def rows(seeds: int, datasets: Sequence[str], models: Sequence[str], epsilons: Sequence[float]) -> list[list[str]]:
    """The table's rows, one for each data set, encoder and ε."""
    catalogue, found = Catalogue(read("params.yaml"), SCALE), []
    for dataset in datasets:
        for model in models:
            pairs: dict[float, list[tuple[float, float]]] = {epsilon: [] for epsilon in epsilons}
            for seed in range(1, seeds + 1):
                cells = [
                    [Settings(dataset=dataset, model=model, method=method, epsilon=epsilon) for epsilon in epsilons]
                    for method in METHODS
                ]
                runs = [[catalogue.experiment(cell, seed, "Table 3") for cell in row] for row in cells]
                of_self_aug, of_mix = accuracies(runs)
                for epsilon, a, b in zip(epsilons, of_self_aug, of_mix, strict=True):
                    pairs[epsilon].append((a, b))
            for epsilon, of in pairs.items():
                difference, correlation, paired, independent = compare(of)
                saved = 1 - (paired / independent) ** 2
                found.append([
                    dataset, model, f"{epsilon:g}", str(seeds), f"{difference:+.2f}", f"{correlation:.2f}",
                    f"{paired:.2f}", f"{independent:.2f}", f"{100 * saved:.0f} %",
                ])  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paired", description=__doc__)
    parser.add_argument("--seeds", type=int, default=30, help="how many")
    options = parser.parse_args()
    tell(f"{options.seeds} seeds of each data set and encoder of the demo's Table 3")
    made = rows(options.seeds, ("digits-300", "digits"), ("tiny-vit", "tiny-convnext"), (1.0, 2.0, 4.0, 8.0))
    write_table("paired", HEADER, made)


if __name__ == "__main__":
    main()
