"""Title, caption and label columns of each table, and title and caption of each figure, as the paper lays them out.

The texts hold at every scale; where they speak of a setting that only the paper's scale has, they say "the paper's
setting". A table that is not the paper's has its title and caption in the params, or a layout here under its name.
"""

from dataclasses import dataclass

ACCURACY = "test accuracy (%)"
DISTANCE = "Fréchet distance"
MINUTES = "running time (min)"
EPSILON = "ε"


@dataclass(frozen=True)
class Layout:
    """A table's title, caption and notes, and the names of its label columns and header lines, outermost first."""

    title: str
    caption: str
    row_names: tuple[str, ...]
    column_names: tuple[str, ...]
    notes: tuple[str, ...] = ()


# By the table's name in the params.
TABLES = {
    "1": Layout(
        "Mixup by microbatches, trained from scratch",
        "Microbatches of two allow mixup between private examples, but one record then moves the sum by up to 2C "
        "instead of C, and the noise doubles with it. The paper's setting: CIFAR-10, WRN-16-4 from scratch, ε = 8.",
        ("Method",),
        ("Microbatch size",),
        notes=(
            "The paper describes two ways to mix a microbatch and does not say which one its row shows; here the mixed "
            "image joins the microbatch, or (alone) replaces it.",
        ),
    ),
    "2": Layout(
        "Training from scratch",
        "A network trained from scratch under several privacy budgets: with self-augmentation alone, and with views "
        "mixed within each example. The paper's setting: WRN-16-4.",
        ("Dataset", "Method"),
        ("ε",),
    ),
    "3": Layout(
        "Fine-tuning the head of a frozen encoder",
        "A linear classifier is trained privately on a frozen encoder, for every dataset, method and privacy budget.",
        ("Dataset", "Method"),
        ("Model", "ε"),
    ),
    "4": Layout(
        "Other augmentations beside mixup",
        "Each + column adds one transformation to Self-Aug; +All draws among all of them at random. The paper's "
        "setting: Vit-B-16, ε = 1.",
        ("Dataset",),
        ("Augmentation",),
    ),
    "5": Layout(
        "More self-augmentations instead of mixup",
        "The number of plain views per example grows until it exceeds the total that DP-Mix_Self uses. The paper's "
        "setting: CIFAR-10, ε = 8.",
        ("Training method", "Total # of Aug"),
        ("Model",),
    ),
    "6": Layout(
        "Pretraining on the synthetic images",
        "The synthetic set D either pretrains the model without privacy or enters DP-Mix_Diff. The paper's setting: "
        "Caltech256, ε = 2.",
        ("Pretrained on D",),
        ("Model",),
    ),
    "7": Layout(
        "Distance of the augmented training set from the real images",
        "Fréchet distance between the views that a method trains on and the original training or test images. "
        "Lower means more alike.",
        ("Dataset",),
        ("Split", "Method"),
    ),
    "8": Layout(
        "Distance of the synthetic images from the real ones",
        "Fréchet distance of the training images from the test images and from the synthetic set, by the features of "
        "two networks.",
        ("Dataset",),
        ("FID model", "Compared"),
    ),
    "9": Layout(
        "How many views of each kind",
        "K_BASE plain, K_SELF mixed and K_DIFF synthetic views per example. The paper's setting: Vit-B-16 on "
        "Caltech256, ε = 1.",
        (),
        ("K_BASE", "K_SELF", "K_DIFF"),
    ),
    "10": Layout(
        "What the synthetic images are worth",
        "Trained on half of the training set. A: DP-Mix_Self. B: DP-Mix_Diff with as many synthetic images as that "
        "half has. C: as B, but with the other half of the training set, taken to be public, in place of the "
        "synthetic images. The paper's setting: ε = 2.",
        ("Dataset",),
        ("Model", "Method"),
    ),
    "11": Layout(
        "From scratch in JAX",
        "Self-augmentation and mixup in jax_privacy's implementation of DP-SGD; the paper reports the median of five "
        "runs. The paper's setting: CIFAR-10, WRN-16-4.",
        ("Method",),
        ("ε",),
    ),
    "12": Layout(
        "Mixing without any view of the private image",
        "With K_BASE = 0, Pure-DP-Mix_Diff mixes synthetic images with each other only. The paper's setting: "
        "CIFAR-100, Vit-B-16, ε = 1.",
        ("Method",),
        (),
    ),
    "13": Layout(
        "Running time",
        "Wall-clock time of one fine-tuning run. The paper's setting: Vit-B-16 on Caltech256, ten epochs, one A100; "
        "times compare only on like hardware.",
        (),
        ("Method",),
    ),
}

FIGURES = {
    1: (
        "From one private image to its views",
        "The plain views of one example, the synthetic images drawn for it, and the mixtures of pairs among them, each "
        "with its mixing weight λ and its label.",
    ),
    2: (
        "Gradient magnitude per parameter",
        "The magnitude of each parameter's gradient, averaged over examples before clipping and noise. Filled: the "
        "average over epochs; lines: single epochs through training. Narrower is steadier.",
    ),
}
