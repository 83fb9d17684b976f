"""The settings of the views of one example, and which of them have an effect; `dpmix.views.mixing` makes the views.

Importing this module loads no torch, so that experiments can be named by their views before anything is computed.
"""

from dataclasses import dataclass, replace
from numbers import Integral
from typing import Literal

from dpmix.errors import suggestion
from dpmix.params.registries import MIXING_MODES, MixingName
from dpmix.views.transforms import INDEX_TRANSFORMS

_NAMES = {
    "pairs": ("distinct", "independent"),
    "microbatch_mixup": ("none", "added", "alone"),
    "mixing": tuple(MIXING_MODES),
}


@dataclass(frozen=True)
class ViewSettings:
    """What the views of one example are made of.

    Attributes:
        k_base: augmented views T(x) of the example.
        k_diff: images drawn from D without replacement.
        k_self: mixtures of pairs from S.
        alpha: of the Beta distribution of lambda.
        pairs: `distinct` draws two different members of S; `independent` draws each uniformly, so that they may agree.
        transforms: names in `dpmix.views.transforms.TRANSFORMS`, applied independently to each view.
        padding: of the random crop, in pixels.
        augment_synthetic: whether T also applies to the images drawn from D.
        microbatch_size: examples of one unit of sampling; above 1, `microbatch_mixup` says whether their mixture is
            `added` to the unit's views or is its only view (`alone`).
        mixing: what is done to a pair, of S or of a microbatch: a name of
            `dpmix.params.registries.MIXING_MODES`: `mixup` (Eq. 3), `cutmix` (Yun et al., ICCV 2019), or `unmixed`
            copies of S, as the released program makes them.

    Raises:
        ValueError: a value that is not allowed, or values that do not fit together.

    DP-Mix_Diff: four augmented views, two images of D, and three mixtures of pairs of these six:

    >>> ViewSettings(k_base=4, k_diff=2, k_self=3, transforms=("crop", "flip"), padding=4).views
    9
    """

    k_base: int
    k_diff: int = 0
    k_self: int = 0
    alpha: float = 0.2
    pairs: Literal["distinct", "independent"] = "distinct"
    transforms: tuple[str, ...] = ()
    padding: int = 0
    augment_synthetic: bool = True
    microbatch_size: int = 1
    microbatch_mixup: Literal["none", "added", "alone"] = "none"
    mixing: MixingName = "mixup"

    def __post_init__(self) -> None:
        for name, least in (("k_base", 0), ("k_diff", 0), ("k_self", 0), ("padding", 0), ("microbatch_size", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
                raise ValueError(f"{name} {value!r} is not a whole number of at least {least}; give one")
        if not 0 < self.alpha <= 1:
            raise ValueError(f"alpha {self.alpha!r} is not in (0, 1]; choose another, such as the paper's 0.2")
        for name, names in _NAMES.items():
            if getattr(self, name) not in names:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; {suggestion(getattr(self, name), names)}")
        members = self.k_base + self.k_diff
        if members == 0:
            raise ValueError("S is empty, so there is nothing to mix; raise k_base or k_diff")
        if self.k_self and (self.pairs == "distinct" or self.mixing == "unmixed") and members < 2:
            raise ValueError("k_self > 0 needs at least two members in S; raise k_base or k_diff")
        if self.microbatch_mixup != "none" and self.mixing == "unmixed":
            raise ValueError("mixing: unmixed is of k_self views; set microbatch_mixup: none, or mixing: mixup")
        if self.microbatch_mixup != "none" and self.microbatch_size != 2:
            raise ValueError("microbatch_mixup needs microbatch_size: 2; set it, or remove microbatch_mixup")
        if self.microbatch_size > 1 and (self.k_self or self.k_diff):
            raise ValueError("microbatches have no mixed views; set k_self and k_diff to 0")

    @property
    def views(self) -> int:
        """K = K_base + K_diff + K_self, the views of one example."""
        return self.k_base + self.k_diff + self.k_self

    def canonical(self) -> "ViewSettings":
        """These settings with every one that has no effect here set to its default.

        Two settings have the same canonical form exactly if they make the same views of every example, whatever is
        drawn. Experiments are hashed by it, so that a setting without effect makes no other run.
        """
        # A crop of an image that was not padded is the image; and transforms that move pixels come first anyway.
        crops = self.padding > 0
        moves = [name for name in self.transforms if name in INDEX_TRANSFORMS and (name != "crop" or crops)]
        changes = [name for name in self.transforms if name not in INDEX_TRANSFORMS]
        transformed = self.k_base > 0 or self.augment_synthetic
        transforms = (*moves, *changes) if transformed else ()
        # A pair of one member with itself is that member, however it is mixed.
        mixes = self.microbatch_mixup != "none" or (self.k_self > 0 and self.k_base + self.k_diff > 1)
        # The weights of unmixed copies act on labels alone, and only where the two drawn can have different ones: the
        # last member of S, an image of D if there are any, is never drawn.
        unmixed = mixes and self.mixing == "unmixed"
        weighs = mixes and not (unmixed and (self.k_diff < 2 or self.k_base + self.k_diff < 3))
        default = ViewSettings(k_base=1)
        return replace(
            self,
            alpha=self.alpha if weighs else default.alpha,
            mixing=self.mixing if mixes else default.mixing,
            pairs=self.pairs if self.k_self and not unmixed else default.pairs,
            transforms=transforms,
            padding=self.padding if "crop" in transforms else default.padding,
            augment_synthetic=self.augment_synthetic if self.k_diff and transforms else default.augment_synthetic,
        )
