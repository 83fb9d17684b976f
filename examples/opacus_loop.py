"""DP-Mix in an Opacus training loop, on scikit-learn's handwritten digits: seconds on a CPU.

    python examples/opacus_loop.py --epsilon 4

Everything but the three marked lines is the loop that Opacus's users have: a plain network, their inner optimizer in a
`DPOptimizer`, and an accountant of Opacus's. The public images that are mixed in are drawn stroke digits, in the place
of a diffusion model's.
"""

import argparse
import tempfile
import warnings
from pathlib import Path

import torch
from opacus.optimizers import DPOptimizer
from torch import nn

from dpmix import DPMix, Images, Plan, ViewSettings, load_images

# Only to have digits and public images at hand, and to round ε up: these modules are not part of the public face.
from dpmix.data import sources
from dpmix.demo import strokes
from dpmix.params.specs import DatasetSpec
from dpmix.privacy.accounting import rounded_up

RESOLUTION = 16
# The published size of the training set: a constant, and not what happens to be loaded.
DIGITS = DatasetSpec(name="digits", label="digits", source="scikit-learn", classes=10, channels=1, train=1437, test=360)


def main(arguments: list[str] | None = None) -> None:
    """Train and print the accuracy and ε."""
    options = parse(arguments)
    train, test = load_digits()
    public = Images(*strokes.draw(DIGITS.train, seed=options.seed, resolution=RESOLUTION), train.classes)
    plan = Plan.calibrated(
        population=DIGITS.train,
        batch_size=options.batch_size,
        epochs=options.epochs,
        clip_norm=options.clip_norm,
        epsilon=options.epsilon,
        delta=options.delta,
        accountant="prv",
    )
    views = ViewSettings(
        k_base=options.k_base, k_diff=options.k_diff, k_self=options.k_self, transforms=("crop",), padding=1
    )
    model = network(options.seed)
    optimizer = DPOptimizer(
        torch.optim.SGD(model.parameters(), lr=options.learning_rate, momentum=options.momentum),
        noise_multiplier=plan.noise_multiplier,
        max_grad_norm=plan.clip_norm,
        expected_batch_size=plan.batch_size,
    )

    mix = DPMix(model, optimizer, train, plan, views, synthetic=public, seed=options.seed, physical_batch=128)  # 1
    for batch in mix.batches():  # 2
        mix.backward(batch)  # 3
        optimizer.step()
        optimizer.zero_grad()

    print(f"{plan.steps} steps of about {plan.batch_size} of {plan.population} images; views of each: {views.views}")
    print(f"accuracy: {accuracy(model, test):.1f} % of {len(test)} test images")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by_opacus = mix.accountant.get_epsilon(plan.delta)
    print(f"epsilon at delta {plan.delta:g}, by Opacus ({mix.accountant.mechanism()}): {rounded_up(by_opacus, 3)}")
    spent = ", ".join(f"{name} {rounded_up(value, 3)}" for name, value in mix.ledger.spent(plan).items())
    print(f"epsilon at delta {plan.delta:g}, by dpmix: {spent}")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epsilon", type=float, default=4.0, help="target ε")
    parser.add_argument("--delta", type=float, default=1e-5, help="δ, well below 1 / N")
    parser.add_argument("--clip-norm", type=float, default=1.0, help="C")
    parser.add_argument("--batch-size", type=int, default=256, help="expected logical batch size B")
    parser.add_argument("--epochs", type=float, default=5, help="passes over the data, in expectation")
    parser.add_argument("--learning-rate", type=float, default=1.0)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--k-base", type=int, default=2, help="augmented views of each image")
    parser.add_argument("--k-diff", type=int, default=1, help="public images beside them")
    parser.add_argument("--k-self", type=int, default=2, help="mixtures of these")
    parser.add_argument("--seed", type=int, default=0, help="of a research run")
    return parser.parse_args(arguments)


def load_digits() -> tuple[Images, Images]:
    """1,437 training and 360 test images of 16 x 16 pixels."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "digits"
        sources.prepare(DIGITS, RESOLUTION, raw=Path(folder), out=store)
        train, test = load_images(store, "train"), load_images(store, "test")
        # Copied into memory, because the folder goes.
        return tuple(Images(part.images.copy(), part.labels, part.classes) for part in (train, test))  # type: ignore[return-value]


def network(seed: int) -> nn.Module:
    """A small network without batch norm; images come in [0, 1]."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.GroupNorm(4, 32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 10),
    )


@torch.no_grad()
def accuracy(model: nn.Module, images: Images) -> float:
    """Per cent of the images classified correctly."""
    predictions = model(torch.from_numpy(images.images).float() / 255).argmax(dim=1)
    return 100 * float((predictions == torch.from_numpy(images.labels)).float().mean())


if __name__ == "__main__":
    main()
