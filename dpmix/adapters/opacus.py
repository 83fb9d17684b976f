"""DP-Mix in an Opacus training loop, of which three lines change.

    mix = DPMix(model, optimizer, images, plan, ViewSettings(k_base=4, k_self=4))
    for batch in mix.batches():    # in place of: for images, labels in loader
        mix.backward(batch)        # in place of: criterion(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

The model is a plain module, without Opacus's `GradSampleModule`; the optimizer is Opacus's own `DPOptimizer`, which
clips, adds the noise and divides by B; the accountant is Opacus's own too. The adapter makes Poisson batches at exactly
q = B / N, the views of Algorithm 1, and fills `p.grad_sample` with n rows: the gradient of the mean over an example's K
views. A row depends on its record alone, is finite, and enters a noisy step at most once.
"""

import secrets
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from dpmix.data.images import Images
from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.ledger import Ledger
from dpmix.privacy.loss import ExampleLoss, soft_cross_entropy
from dpmix.privacy.model_checks import check_examples_independent, rules_cover
from dpmix.privacy.per_example import per_example_gradients
from dpmix.privacy.plan import Plan
from dpmix.privacy.precision import repeatable_convolutions
from dpmix.random import KeyedRandom, key_of
from dpmix.training.physical_batches import physical_batches
from dpmix.views.mixing import make_views
from dpmix.views.settings import ViewSettings

with warnings.catch_warnings():
    # At import Opacus warns about hooks, which are not used here, and about a secure mode that it cannot offer.
    warnings.simplefilter("ignore")
    from opacus.accountants import IAccountant
    from opacus.optimizers import DPOptimizer
from dpmix.adapters.opacus_checks import (
    check_criterion,
    check_data,
    check_network,
    check_optimizer,
    check_outputs,
    check_settings,
    check_still_shared,
    opacus_accountant,
    shared_parameters,
)

if TYPE_CHECKING:
    from dpmix.privacy.sampling import Sample


@dataclass(frozen=True, eq=False)
class Batch:
    """A physical batch: a part of the Poisson sample of one step. Its repr does not show who was sampled.

    Attributes:
        step: the logical step, from 0.
        indices: int64 [n], the sampled records; n is 0 where a step samples nobody.
        first: whether it is the first of its step.
        last: whether it is the last, after which the optimizer adds noise and updates the weights.

    >>> Batch(step=0, indices=np.array([3, 8]), first=True, last=True, key=0)
    Batch(step=0, first=True, last=True)
    """

    step: int
    indices: npt.NDArray[np.int64] = field(repr=False)
    first: bool
    last: bool
    key: int = field(repr=False)

    def __len__(self) -> int:
        return len(self.indices)


class DPMix:
    """Poisson batches and the per-example gradients of their views, for a stock `DPOptimizer`.

    Args:
        model: maps images float32 [m, C, R, R] in [0, 1] to logits [m, classes], each row from its own image alone. It
            is checked for that by trial, again whenever its layers change between training and eval mode.
        optimizer: Opacus's `DPOptimizer` over parameters of the model, with the plan's noise multiplier, clip norm and
            batch size: `DPOptimizer(inner, noise_multiplier=plan.noise_multiplier, max_grad_norm=plan.clip_norm,
            expected_batch_size=plan.batch_size)`. Opacus's `make_private` would derive B and q from the loaded data.
        data: the private images. If there are fewer than the plan's `population`, indices from `len(data)` on are
            sampled too, but give no gradient.
        plan: sampling, noise and number of steps; microbatches are not for this optimizer.
        views: K_base, K_diff, K_self and the transforms.
        synthetic: D, needed when K_diff > 0.
        accountant: Opacus's, told of every noisy step, empty ones included: "prv", "rdp", or one that already exists.
        seed: of a research run. It determines the batches, the views and, unless the optimizer has a generator of its
            own, the noise of each step. With None, batches and views come from the operating system's entropy, and the
            noise from the optimizer's generator, on which its unpredictability then depends.
        physical_batch: records whose gradients are held in memory together.
        criterion: (logits [K, classes], soft labels [K, classes]) -> scalar mean over the K rows.

    Attributes:
        accountant: Opacus's accountant, for `get_epsilon(delta)`.
        ledger: the noisy steps that were executed, for `spent(plan)`: ε by each of dpmix's accountants.

    Raises:
        ParamsError: settings that this optimizer cannot execute, an unknown accountant, a data-parallel wrapper, a
            criterion without a gradient, or parameters that would have one and that the optimizer does not move.
        DataError: more records than the plan has, a D that is missing, too small, or of other classes or shape, or a
            model for other images or another number of classes.
        PrivacyError: a model whose outputs depend on the other images of a batch, or an optimizer that would not do
            what the plan says.

    >>> random = np.random.default_rng(0)
    >>> images = Images(random.integers(0, 256, (24, 1, 8, 8), dtype=np.uint8), np.arange(24) % 3, ("a", "b", "c"))
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    >>> plan = Plan.make(population=24, batch_size=6, epochs=1, clip_norm=0.1, noise_multiplier=1.0, delta=1e-3)
    >>> optimizer = DPOptimizer(
    ...     torch.optim.SGD(model.parameters(), lr=0.1),
    ...     noise_multiplier=plan.noise_multiplier, max_grad_norm=plan.clip_norm, expected_batch_size=plan.batch_size,
    ... )
    >>> mix = DPMix(model, optimizer, images, plan, ViewSettings(k_base=2, k_self=1), seed=0)
    >>> for batch in mix.batches():
    ...     mix.backward(batch)
    ...     updated = optimizer.step()
    ...     optimizer.zero_grad()
    >>> mix.ledger.steps == plan.steps
    True
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: DPOptimizer,
        data: Images,
        plan: Plan,
        views: ViewSettings,
        *,
        synthetic: Images | None = None,
        accountant: str | IAccountant = "prv",
        seed: int | None = None,
        physical_batch: int = 64,
        criterion: Callable[[Tensor, Tensor], Tensor] = soft_cross_entropy,
    ) -> None:
        check_settings(plan, views, physical_batch, seed)
        check_data(data, plan, views, synthetic)
        check_network(model)
        self._params = shared_parameters(model, optimizer)
        check_optimizer(optimizer, plan)
        self.accountant = opacus_accountant(accountant)
        self.ledger = Ledger()
        self._model, self._optimizer, self._data, self._plan = model, optimizer, data, plan
        self._views, self._synthetic, self._seed, self._size = views, synthetic, seed, physical_batch
        self._loss = ExampleLoss(model, criterion)
        self._device = next(iter(self._params.values())).device
        self._image = torch.zeros(data.images.shape[1:], device=self._device)
        self._sampler = plan.sampler(seed)
        self._sample: Sample | None = None
        self._modes: set[tuple[bool, ...]] = set()
        check_outputs(model, self._image, data.num_classes)
        self._check_model()
        check_criterion(self._loss, self._params, self._image, data.num_classes)
        # For networks with layers that `per_example_gradients` does not know, vmap gives the same rows, more slowly.
        self._by_layer = rules_cover(self._loss, self._params, self._image, data.num_classes)
        # A research run draws the noise of every step from a key of its own, so that a resumed run repeats none of it.
        self._keyed_noise = seed is not None and optimizer.generator is None
        self._account = self.accountant.get_optimizer_hook_fn(plan.sampling_rate)
        self._handed_out: Batch | None = None
        self._filled: Batch | None = None
        self._turn = 0
        optimizer.attach_step_hook(self._released)

    def batches(self) -> Iterator[Batch]:
        """The physical batches of all remaining steps, in order. After a `break`, call it again to continue.

        A step that was left before its noisy update starts again, and nothing of its first part is kept.

        Raises:
            PrivacyError: if a batch was not given to `backward`, a step's `optimizer.step()` is missing, or more than
                the plan's ε was spent in the end.
        """
        self._turn += 1
        turn = self._turn
        while self.ledger.steps < self._plan.steps:
            step = self.ledger.steps
            self._sample, key = self._sampler.sample(step), secrets.randbits(32) if self._seed is None else self._seed
            chosen = self._sample.units[self._sample.units < len(self._data)]
            parts = list(physical_batches(chosen, self._size)) or [chosen]
            for number, part in enumerate(parts):
                batch = Batch(step, part, number == 0, number == len(parts) - 1, key)
                self._handed_out = batch
                yield batch
                if self._turn != turn:
                    raise PrivacyError("batches() was called again inside its own loop; finish one before the other")
                if self._handed_out is not None:
                    raise PrivacyError(f"a batch of step {step} got no backward(); leave none out, or break the loop")
            if self.ledger.steps != step + 1:
                raise PrivacyError(f"step {step} got no optimizer.step(); call it after every backward()")
        self.ledger.check(self._plan)

    def backward(self, batch: Batch) -> None:
        """Fill `p.grad_sample`, [n, *p.shape] for n records, n = 0 included. Call `optimizer.step()` afterwards.

        The optimizer is told whether more physical batches of this step follow. Nothing is returned, because the loss
        of private records is private too.

        Raises:
            PrivacyError: if the batch is not the one that `batches` gave last, `optimizer.step()` was not called after
                the one before, or the model's outputs depend on the other images of a batch.
            ParamsError: if parameters were frozen or unfrozen since this was made.
        """
        if batch is not self._handed_out:
            raise PrivacyError("this is not the batch that batches() gave last; give each to backward() exactly once")
        if batch.first:
            # Remove sums and flags that a loop left by `break` may have left in the optimizer.
            self._optimizer._step_skip_queue.clear()
            for p in self._params.values():
                p.summed_grad = None  # type: ignore[attr-defined]
        elif self._optimizer._step_skip_queue:
            raise PrivacyError(f"step {batch.step} lost a batch; call optimizer.step() after every backward()")
        check_still_shared(self._optimizer, self._params)
        self._check_model()
        rows = self._rows(batch)
        for name, p in self._params.items():
            p.grad_sample = rows[name].to(p.dtype)  # type: ignore[attr-defined]
        if batch.last and self._keyed_noise:
            self._optimizer.generator = self._noise_of(batch.step)
        self._optimizer.signal_skip_step(do_skip=not batch.last)
        self._handed_out, self._filled = None, batch

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs besides the model's and the optimizer's state: ledger, accountant, noise generator.

        Opacus's optimizer saves none of these. A run that is resumed without them would repeat its noise, and lose
        count of its ε.

        Raises:
            PrivacyError: if noise, samples or sums of the steps until now are measured to differ from what the plan
                says; after resuming, they could not be measured any more.
        """
        self.ledger.verify()
        own = None if self._keyed_noise or self._optimizer.generator is None else self._optimizer.generator.get_state()
        return {"ledger": self.ledger.to_json(), "accountant": self.accountant.state_dict(), "generator": own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after the last noisy step of a run.

        Args:
            state: as that run's `state_dict` returned it.

        Raises:
            ParamsError: for what is no such state; nothing has changed then.
            PrivacyError: if the noise came from the optimizer's own generator, and there is none now.
        """
        if lacking := [name for name in ("ledger", "accountant", "generator") if name not in state]:
            raise ParamsError(f"the state has no {', '.join(lacking)}; give what state_dict() of a DPMix returned")
        if state["generator"] is not None:
            if self._keyed_noise or self._optimizer.generator is None:
                raise PrivacyError("the checkpoint's noise had a generator; give DPOptimizer one, so as to repeat none")
            self._optimizer.generator.set_state(state["generator"])
        self.accountant.load_state_dict(state["accountant"])
        self.ledger = Ledger.from_json(state["ledger"])

    def _rows(self, batch: Batch) -> dict[str, Tensor]:
        """Per-example gradients by name, float32 [n, *shape]; zero for an example whose gradient is not finite."""
        params = {name: p.detach() for name, p in self._params.items()}
        if len(batch) == 0:
            return {name: p.new_zeros(0, *p.shape) for name, p in params.items()}
        random = KeyedRandom(batch.key, batch.step, batch.indices)
        views = make_views(self._data, batch.indices, self._views, random, self._synthetic, self._device)
        with repeatable_convolutions():
            if self._by_layer:
                rows = per_example_gradients(self._loss, params, views.images, views.targets)
            else:
                one = vmap(grad(self._loss), in_dims=(None, 0, 0), randomness="different")
                rows = one(params, views.images, views.targets)
        rows = {name: value.detach().float() for name, value in rows.items()}
        # Finite entries do not suffice: if the norm overflows, Opacus would scale the row by 0 or nan.
        squares = torch.stack([value.flatten(1).square().sum(dim=1) for value in rows.values()]).sum(dim=0)
        finite = torch.isfinite(squares)
        if bool(finite.all()):
            return rows
        return {
            name: torch.where(finite.view(-1, *[1] * (value.dim() - 1)), value, 0.0) for name, value in rows.items()
        }

    def _check_model(self) -> None:
        modes = tuple(layer.training for layer in self._model.modules())
        if modes not in self._modes:
            check_examples_independent(self._model, self._image)
            self._modes.add(modes)

    def _noise_of(self, step: int) -> torch.Generator:
        assert self._seed is not None
        # A key of the run plus the step: torch may use only 32 bits of a seed, and no two steps may have the same.
        return torch.Generator(self._device).manual_seed((key_of(32, self._seed, "opacus noise") + step) % 2**32)

    def _released(self, optimizer: DPOptimizer) -> None:
        """Opacus calls this once for each noisy update, just before the weights change."""
        if self._filled is None or not self._filled.last:
            raise PrivacyError("a noisy step that no batch asked for; call optimizer.step() once after each backward()")
        if optimizer.noise_multiplier < self._plan.noise_multiplier:
            raise PrivacyError(
                f"the optimizer's noise multiplier {optimizer.noise_multiplier:g} is below the planned "
                f"{self._plan.noise_multiplier:g}; make it from the plan"
            )
        self._filled = None
        # Measure the noise that Opacus added: from the sum before, and the gradient times the divisor after.
        std = optimizer.noise_multiplier * optimizer.max_grad_norm
        divisor = optimizer.expected_batch_size * optimizer.accumulated_iterations
        divisor = divisor if optimizer.loss_reduction == "mean" else 1
        for name, p in self._params.items():
            assert p.grad is not None
            self.ledger.measure(p.summed_grad, p.grad * divisor, std, name=name)  # type: ignore[attr-defined]
        assert self._sample is not None
        self.ledger.close_step(self._sample, self._plan.sensitivity)
        self._account(optimizer)
