"""Checks of model, optimizer, images and settings before an Opacus loop trains with DP-Mix."""

import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from numbers import Integral

import torch
from torch import Tensor, nn

from dpmix.data.images import Images, check_alike
from dpmix.errors import DataError, ParamsError, PrivacyError, one_line
from dpmix.privacy.loss import ExampleLoss
from dpmix.privacy.model_checks import tried, try_gradient
from dpmix.privacy.plan import Plan
from dpmix.views.settings import ViewSettings

with warnings.catch_warnings():
    # At import Opacus warns about hooks, which are not used here, and about a secure mode that it cannot offer.
    warnings.simplefilter("ignore")
    from opacus.accountants import IAccountant, PRVAccountant, RDPAccountant
    from opacus.grad_sample import AbstractGradSampleModule
    from opacus.optimizers import DPOptimizer


# By name, as some of them are imported only where processes can be joined; Opacus's own among them.
_WRAPPERS = {
    "DataParallel", "DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule",
    "DifferentiallyPrivateDistributedDataParallel", "DPDDP",
}  # fmt: skip

_ACCOUNTANTS = {"prv": PRVAccountant, "rdp": RDPAccountant}


def check_settings(plan: Plan, views: ViewSettings, physical_batch: int, seed: int | None) -> None:
    """Check that Opacus's optimizer can execute the plan.

    Raises:
        ParamsError: for microbatches, for persons as units, for a physical batch or seed out of range, and for what is
            no plan, no settings or no whole number.
    """
    for name, given, kind in (("plan", plan, Plan), ("views", views, ViewSettings)):
        if not isinstance(given, kind):
            raise ParamsError(f"{name} is a {type(given).__name__}; give a dpmix.{kind.__name__}")
    for name, number in (("physical_batch", physical_batch), ("seed", seed)):
        if not isinstance(number, Integral) and not (name == "seed" and number is None):
            raise ParamsError(f"{name} {number!r} is no whole number; give one such as 64")
    if plan.unit != "image":
        raise ParamsError(
            f"the plan protects each {plan.unit}, and DPMix samples images; give a plan with unit image, or train by "
            "dpmix.build with unit: person"
        )
    if plan.microbatch_size > 1 or views.microbatch_size > 1:
        raise ParamsError(
            "microbatches have sensitivity 2 C, for which DPOptimizer adds half the noise; use microbatch_size 1"
        )
    if physical_batch < 1:
        raise ParamsError(f"physical_batch {physical_batch} is not a number of records; give one such as 64")
    if seed is not None and not 0 <= seed < 2**32:
        raise ParamsError(f"seed {seed} is not in [0, 2**32); choose another, or None for the system's entropy")


def check_data(data: Images, plan: Plan, views: ViewSettings, synthetic: Images | None) -> None:
    """Check the number of images; fewer private images than the plan's population give a warning.

    Raises:
        DataError: for what is not `Images`, more private images than the plan's population, fewer than K_diff images of
            D, or a D of other classes or shape.
    """
    for name, given in (("data", data), ("synthetic", synthetic)):
        if not isinstance(given, Images) and not (name == "synthetic" and given is None):
            raise DataError(
                f"{name} is a {type(given).__name__}; give dpmix.Images of it: pixels uint8 [N, channels, R, R], "
                "labels [N] from 0 and the names of the classes"
            )
    if len(data) > plan.population:
        raise DataError(
            f"there are {len(data)} images, more than the plan's population of {plan.population}; "
            "plan for the published size"
        )
    if len(data) < plan.population:
        warnings.warn(
            f"{len(data)} of the plan's {plan.population} images are here; the others are sampled as nobody",
            stacklevel=3,
        )
    if views.k_diff:
        if synthetic is None or len(synthetic) < views.k_diff:
            raise DataError(
                f"k_diff = {views.k_diff} needs a synthetic set of at least as many images; give `synthetic`"
            )
        check_alike(data, synthetic)


def check_network(model: nn.Module) -> None:
    """Check that the model is a plain one: no wrapper that spreads it over devices, and no layer under two names.

    Raises:
        ParamsError: for such a wrapper, what is no module, or a layer that `functional_call` would meet twice.
    """
    if not isinstance(model, nn.Module):
        raise ParamsError(f"the model is a {type(model).__name__}, not a torch.nn.Module; give the module itself")
    for name, layer in model.named_modules():
        kinds = {kind.__name__ for kind in type(layer).__mro__}
        if wrapper := sorted(kinds & _WRAPPERS):
            raise ParamsError(
                f"{f'the part {name} of the model' if name else 'the model'} is wrapped in {wrapper[0]}, which would "
                "spread a batch over devices; give the plain module inside it, its attribute `module`"
            )
    first: dict[nn.Module, str] = {}
    for name, layer in model.named_modules(remove_duplicate=False):
        if any(p.requires_grad for p in layer.parameters(recurse=False)) and first.setdefault(layer, name) != name:
            raise ParamsError(
                f"{first[layer]} and {name} of the model are one layer; keep it under one name, and call it twice in "
                "the model's forward"
            )


def check_outputs(model: nn.Module, image: Tensor, classes: int) -> None:
    """Check that a model takes the data's images and gives a logit for each of its classes; tried on black images.

    Args:
        model: as `DPMix` takes it.
        image: [C, R, R], of which only the shape, type and device are used.
        classes: of the data.

    Raises:
        DataError: if it takes no images of this shape, or gives another number of logits.
    """
    shape = list(image.shape)
    try:
        rows = tried(model, image)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"the model does not take the data's images, {shape} (channels, height, width): {one_line(error)}; bring "
            "them to the shape that it is for"
        ) from error
    if isinstance(rows, Tensor) and rows.shape[:1] == (2,) and tuple(rows.shape[1:]) != (classes,):
        raise DataError(
            f"the model gives {list(rows.shape[1:])} numbers for an image, and the data has {classes} classes; give it "
            f"a last layer of {classes} outputs"
        )


def check_criterion(loss: ExampleLoss, names: Collection[str], image: Tensor, classes: int) -> None:
    """Check that the criterion gives one number, of which the parameters have gradients; tried on a black image.

    Args:
        loss: of one example, by this criterion.
        names: the parameters that the optimizer updates.
        image: [C, R, R], of which only the shape, type and device are used.
        classes: of the data.

    Raises:
        ParamsError: if it does not.
    """
    try:
        try_gradient(loss, names, image, classes)
    except Exception as error:  # of somebody else's model and criterion
        raise ParamsError(
            f"model and criterion have no gradient ({one_line(error, 200)}); a criterion takes logits and soft labels, "
            "both [K, classes], and gives their mean over K, one number that depends on the parameters"
        ) from error


def shared_parameters(model: nn.Module, optimizer: DPOptimizer) -> dict[str, nn.Parameter]:
    """The parameters that the optimizer updates, by their names in the model.

    Raises:
        PrivacyError: for another optimizer than Opacus's `DPOptimizer`, a model with Opacus's hooks, parameters that
            are not the model's, or parameters in half precision.
        ParamsError: for parameters on several devices or without values, or others of the model that are not frozen.
    """
    if type(optimizer) is not DPOptimizer:
        raise PrivacyError(
            f"the optimizer is a {type(optimizer).__name__}, of whose clipping and noise the plan knows nothing; wrap "
            "the inner optimizer in opacus.optimizers.DPOptimizer"
        )
    if isinstance(model, AbstractGradSampleModule) or hasattr(model, "autograd_grad_sample_hooks"):
        raise PrivacyError(
            "Opacus's hooks are on this model and would fill grad_sample a second time; give a plain one"
        )
    moved = {id(p) for p in optimizer.params}
    shared = {name: p for name, p in model.named_parameters() if id(p) in moved}
    if not shared or len(shared) != len(optimizer.params):
        raise PrivacyError("the optimizer moves parameters that are not the model's, or none; give it this model's")
    if outside := [name for name, p in model.named_parameters() if p.requires_grad and name not in shared]:
        raise ParamsError(
            f"{_few(outside)} would have gradients, and the optimizer does not move them; freeze them by "
            "requires_grad_(False), or give them to the optimizer too"
        )
    if any(p.dtype not in (torch.float32, torch.float64) for p in shared.values()):
        raise PrivacyError(
            "in half precision clipping overshoots its bound; keep parameters in float32 and use autocast"
        )
    if any(p.is_meta for p in shared.values()):
        raise ParamsError(
            "parameters on the device meta have no values; move the model to another and load its weights"
        )
    if len({p.device for p in shared.values()}) > 1:
        raise ParamsError("the parameters are on several devices; move the model to one")
    return shared


def check_still_shared(optimizer: DPOptimizer, shared: Mapping[str, nn.Parameter]) -> None:
    """Check that the optimizer moves the parameters that it moved at first.

    Raises:
        ParamsError: if some were frozen, unfrozen, added or removed since.
    """
    if {id(p) for p in optimizer.params} != {id(p) for p in shared.values()}:
        raise ParamsError(
            "the optimizer moves other parameters than when DPMix was made, as when a layer is frozen or unfrozen on "
            "the way; make a new DPOptimizer and a new DPMix for the steps that are left"
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more parameters" if len(names) > 3 else "")


def check_optimizer(optimizer: DPOptimizer, plan: Plan) -> None:
    """Check that the optimizer has the plan's clip norm and batch size, and at least its noise.

    Raises:
        PrivacyError: if it does not, or reports to another accountant already.
    """
    if optimizer.max_grad_norm != plan.clip_norm:
        raise PrivacyError(
            f"the optimizer's max_grad_norm is {optimizer.max_grad_norm} and the plan's clip norm {plan.clip_norm}; "
            "make it from the plan"
        )
    if not plan.noise_multiplier <= optimizer.noise_multiplier < math.inf:
        raise PrivacyError(
            f"the optimizer's noise multiplier is {optimizer.noise_multiplier} and the plan's {plan.noise_multiplier}; "
            "make it from the plan"
        )
    if optimizer.loss_reduction == "mean" and optimizer.expected_batch_size != plan.batch_size:
        raise PrivacyError(
            f"expected_batch_size is {optimizer.expected_batch_size} and the plan's batch size {plan.batch_size}; make "
            "it from the plan (make_private derives it from the loaded data)"
        )
    if optimizer.step_hook is not None:
        raise PrivacyError(
            "the optimizer reports to another accountant already, perhaps at another rate; make a new one from the plan"
        )


def opacus_accountant(accountant: str | IAccountant) -> IAccountant:
    """Opacus's accountant of this name, `prv` or `rdp`; or the given accountant, if it is one of these two.

    Raises:
        ParamsError: for any other.
    """
    if isinstance(accountant, str) and accountant in _ACCOUNTANTS:
        return _ACCOUNTANTS[accountant]()
    if isinstance(accountant, tuple(_ACCOUNTANTS.values())):
        return accountant
    name = accountant if isinstance(accountant, str) else type(accountant).__name__
    raise ParamsError(f"accountant {name!r} gives no upper bound that holds here; use prv or rdp")
