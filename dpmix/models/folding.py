"""Batch norms folded into the convolutions before them: the same features up to rounding, in less time.

In eval mode a batch norm multiplies each channel by a constant and adds another one. Both can be part of the
convolution before it, and then need no pass over memory of their own, of which small convolutional networks have many.
"""

import copy
from collections import Counter

from torch import nn
from torch.fx import Node, Tracer
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(visual: nn.Module) -> nn.Module:
    """A copy of a frozen network with batch norms folded into convolutions; itself, where there is none to fold.

    A batch norm is folded if its input is the output of a convolution that nothing else reads.

    Args:
        visual: in eval mode, from images [m, 3, R, R] to embeddings [m, dim]. It stays as it is.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in visual.modules()):
        return visual
    network = copy.deepcopy(visual)
    try:
        nodes = list(_Tracer().trace(network).nodes)
    except Exception:  # a network whose path depends on its images cannot be traced, and is left as it is
        return visual
    calls = Counter(str(node.target) for node in nodes if node.op == "call_module")
    for node in nodes:
        before = node.args[0] if node.args else None
        if not isinstance(before, Node) or {node.op, before.op} != {"call_module"} or len(before.users) > 1:
            continue
        places = str(before.target), str(node.target)
        conv, norm = map(network.get_submodule, places)
        if (
            not isinstance(conv, nn.Conv2d)
            or not isinstance(norm, nn.BatchNorm2d)
            or any(calls[at] > 1 for at in places)
        ):
            continue
        if (rest := _rest(norm)) is not None:
            network.set_submodule(places[0], fuse_conv_bn_eval(conv, norm))
            network.set_submodule(places[1], rest)
    return network.eval().requires_grad_(False)


class _Tracer(Tracer):
    """Traces down to convolutions and batch norms, also those of other libraries."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


def _rest(norm: nn.BatchNorm2d) -> nn.Module | None:
    """What a batch norm does beside scaling: timm's also applies an activation. None for one that is not known here."""
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    act = getattr(norm, "act", None)
    return act if isinstance(act, nn.Module) and isinstance(getattr(norm, "drop", None), nn.Identity) else None
