"""Number formats: forward and backward passes in a low precision, norms and sums in full float32.

Low precision costs a gradient some digits, and privacy nothing: each example's gradient is cast to float32, and the
norm is that of the very tensor that is then scaled and added.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from dpmix.errors import ParamsError

PRECISIONS = ("float32", "bfloat16", "float16")

# Torch's switches for float32 matrix products with fewer bits, as its backends know them. Norms and sums have no
# convolutions, whose switch is left alone.
_SWITCHES = (("cuda", "matmul"), ("mkldnn", "matmul"))


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that is not one of `PRECISIONS`, or that the device does not compute in.

    Raises:
        ParamsError: with the precisions to choose from.
    """
    if precision not in PRECISIONS:
        raise ParamsError(f"unknown precision {precision!r}; choose {', '.join(PRECISIONS)}")
    if precision == "float32":
        return
    if not torch.amp.is_autocast_available(device.type):
        raise ParamsError(f"torch has no {precision} for {device.type} devices; set precision to float32")
    if precision == "float16" and device.type == "cpu":
        raise ParamsError("float16 needs a GPU; set precision to bfloat16 or float32")
    if (
        precision == "bfloat16"
        and device.type == "cuda"
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        raise ParamsError(f"{torch.cuda.get_device_name(device)} has no bfloat16; set precision to float16 or float32")


def loss_scale(precision: str) -> float:
    """The power of two that the loss is multiplied with, and each example's float32 gradient divided by: exactly.

    Float16 has no numbers below 6e-8, and a view's share of a mean over K is small at every position of an early layer.
    The scale is fixed, because an adaptive one would let one example change what becomes of another. A gradient that
    leaves float16's range is not finite, and counts for nothing.
    """
    return 2.0**8 if precision == "float16" else 1.0


def autocast(precision: str, device_type: str) -> contextlib.AbstractContextManager[object]:
    """Forward passes in `precision`, whatever autocast the caller is in.

    Casts of weights are not cached, because under `torch.func` a cached cast would outlive its transform.
    """
    if precision != "float32":
        return torch.autocast(device_type, dtype=getattr(torch, precision), cache_enabled=False)
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


class LayerNormsAsTheirWeights(TorchFunctionMode):
    """Within it, layer norms compute in the format of their weights: float32, as autocast lets them on GPUs.

    On processors autocast leaves them inputs in low precision beside float32 weights, for whose gradient
    `torch.func.vmap` has no rule ("expected scalar type BFloat16 but found Float").
    """

    @override
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func is torch.nn.functional.layer_norm:
            # As `layer_norm` itself hands them on: the input by place, the weight by name.
            weight = named["weight"]
            if weight is not None:
                args = (args[0].to(weight.dtype), *args[1:])
        return func(*args, **named)


@contextlib.contextmanager
def repeatable_convolutions() -> Iterator[None]:
    """Convolutions on a GPU that give the same bits every time, so that a seeded run can be repeated.

    By default cuDNN also takes algorithms that add up in whatever order threads finish.
    """
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


@contextlib.contextmanager
def full_float32(device_type: str) -> Iterator[None]:
    """Float32 sums and matrix products with all their bits: no autocast, TF32 or bfloat16. Settings are put back after.

    Torch has two interfaces to the same settings and raises where they contradict each other. So what was set with
    `set_float32_matmul_precision` is switched off and on again with it, and only what then remains with the newer
    `fp32_precision`. The settings are the process's: not for use from several threads at once.
    """
    before = {switch: _precision_of(switch) for switch in _SWITCHES}
    legacy = _legacy_precision()
    try:
        if legacy != "highest":
            torch.set_float32_matmul_precision("highest")
        for switch in _SWITCHES:
            if _precision_of(switch) not in ("ieee", "none"):
                _set_precision(switch, "ieee")
        with autocast("float32", device_type):
            yield
    finally:
        if legacy != "highest":
            torch.set_float32_matmul_precision(legacy)
        for switch, value in before.items():
            if _precision_of(switch) != value:
                _restore(switch, value)


def _legacy_precision() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # matters were set through `fp32_precision`
        return "highest"


def _precision_of(switch: tuple[str, str]) -> str:
    return torch._C._get_fp32_precision_getter(*switch)


def _set_precision(switch: tuple[str, str], value: str) -> None:
    torch._C._set_fp32_precision_setter(*switch, value)


def _restore(switch: tuple[str, str], value: str) -> None:
    # "none" inherits from the backend's and torch's own setting, as most switches do.
    _set_precision(switch, "none")
    if _precision_of(switch) != value:
        _set_precision(switch, value)
