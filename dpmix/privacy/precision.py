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

from dpmix.errors import ParamsError, suggestion

PRECISIONS = ("float32", "bfloat16", "float16")

# Torch's switches for float32 matrix products with fewer bits, as its backends know them. Norms and sums have no
# convolutions, whose switch is left alone.
_SWITCHES = (("cuda", "matmul"), ("mkldnn", "matmul"))


def check_precision(precision: str, device: torch.device) -> None:
    """Check that a precision is one of `PRECISIONS` and that the device computes in it.

    Raises:
        ParamsError: if not; the message says which precision to take instead.

    >>> check_precision("bfloat16", torch.device("cpu"))
    >>> check_precision("float16", torch.device("cpu"))
    Traceback (most recent call last):
    dpmix.errors.ParamsError: float16 needs a GPU; set precision to bfloat16 or float32
    """
    if precision not in PRECISIONS:
        raise ParamsError(f"unknown precision {precision!r}; {suggestion(precision, PRECISIONS)}")
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
    """The factor by which the loss is multiplied, and each example's float32 gradient divided again.

    A power of two, so neither operation rounds. Float16 has no numbers below 6e-8, and gradients of single positions of
    an early layer may be smaller. The factor is fixed: one that adapts would let an example change the gradients of
    others. A gradient that leaves float16's range is not finite, and counts for nothing.

    >>> loss_scale("float16"), loss_scale("bfloat16")
    (256.0, 1.0)
    """
    return 2.0**8 if precision == "float16" else 1.0


def autocast(precision: str, device_type: str) -> contextlib.AbstractContextManager[object]:
    """A context in which forward passes run in `precision`, whatever autocast the caller is in.

    Casts of weights are not cached, because under `torch.func` a cached cast would outlive its transform.

    >>> with autocast("bfloat16", "cpu"):
    ...     print((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
    torch.bfloat16
    """
    if precision != "float32":
        return torch.autocast(device_type, dtype=getattr(torch, precision), cache_enabled=False)
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


class LayerNormsAsTheirWeights(TorchFunctionMode):
    """A context in which layer norms compute in the format of their weights: float32, as under autocast on GPUs.

    On processors autocast leaves them inputs in low precision beside float32 weights, for whose gradient
    `torch.func.vmap` has no rule ("expected scalar type BFloat16 but found Float").

    >>> with LayerNormsAsTheirWeights():
    ...     print(torch.nn.LayerNorm(4)(torch.ones(2, 4, dtype=torch.bfloat16)).dtype)
    torch.float32
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
    """A context in which convolutions on a GPU give the same bits every time, so that a seeded run can be repeated.

    By default cuDNN may choose algorithms that add numbers in the order in which threads finish.

    >>> with repeatable_convolutions():
    ...     print(torch.backends.cudnn.deterministic)
    True
    """
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


@contextlib.contextmanager
def full_float32(device_type: str) -> Iterator[None]:
    """A context in which float32 sums and matrix products keep all their bits: no autocast, TF32 or bfloat16.

    The settings are restored afterwards; they belong to the process, so this is not for several threads at once. Torch
    has two interfaces to them and raises where these contradict each other. So what was set with
    `set_float32_matmul_precision` is undone and restored with it, and only the rest with the newer `fp32_precision`.

    >>> with torch.autocast("cpu", dtype=torch.bfloat16), full_float32("cpu"):
    ...     print((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
    torch.float32
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
