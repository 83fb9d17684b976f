"""`engine: jax`: a network's clipped sums by JAX and jax-privacy, in the same loop, with the same views and noise.

`jax_privacy.clipped_grad` takes the gradient of an example's loss, clips it to C in L2 norm, and adds up what it
clipped. An example is here its K views: the batch has one more axis, [n, K, ...], and the loss is the mean over it, so
that what is clipped is the mean gradient over K (Algorithm 1). Blocks are padded to one size, so that each shape is
compiled once; `clipped_grad` is told which examples are padding, and adds zero for them.
"""

import functools
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from dpmix.artefacts.experiment import Experiment
from dpmix.errors import PrivacyError
from dpmix.execution import Execution
from dpmix.params.models import NetworkSpec
from dpmix.privacy.plan import Plan
from dpmix.training.data import TrainingData
from dpmix.training.jax_start import start
from dpmix.training.network import Network, measure
from dpmix.training.physical_batches import is_out_of_memory
from dpmix.training.workers import Workers
from dpmix.views.mixing import Views
from dpmix.wording import counted

# Examples whose gradients exist at the same time. On a processor one example of K views keeps the cores busy.
_TOGETHER = {"cpu": 1}
_TOGETHER_ON_A_GPU = 8

# Units in a block, which is compiled for that many; elsewhere it is the physical batch.
_BLOCK = {"cpu": 64}

_EVALUATION_BATCH = 64


class JaxNetwork(Network):
    """A network whose gradients JAX computes and jax-privacy clips and adds up.

    Raises:
        ParamsError: if jax-privacy is not installed.
        PrivacyError: if the sum that jax-privacy makes is more sensitive than the plan's noise is for.
    """

    def __init__(
        self, experiment: Experiment, plan: Plan, data: TrainingData, module: nn.Module, execution: Execution
    ) -> None:
        super().__init__(experiment, plan, data, module, execution)
        assert isinstance(experiment.model, NetworkSpec)
        self._where = start(execution.where())
        self._together = _TOGETHER.get(self._where.platform, _TOGETHER_ON_A_GPU)
        self._size = self.block = execution.block or _BLOCK.get(self._where.platform, execution.physical_batch)
        self._gradients = clipped_gradients(experiment.model, plan.clip_norm, self._together)
        if (found := sensitivity(experiment.model, plan.clip_norm)) != plan.sensitivity:
            raise PrivacyError(
                f"jax-privacy's clipped sum has sensitivity {found:g}, and the plan's noise is for "
                f"{plan.sensitivity:g}; set engine: torch"
            )
        at_once = counted(self._together, "example")
        self.computed = {"backend": "jax-privacy"}
        self.computed_by = f"jax-privacy, {at_once} at a time on JAX's device {self._where}"

    @override
    def accuracies(self, weights: Mapping[str, Tensor], workers: Workers) -> list[float]:
        classify, arrays = classifier(self._experiment.model), _arrays(weights)

        def predict(images: Tensor) -> Tensor:
            padded = np.zeros((_EVALUATION_BATCH, *images.shape[1:]), dtype=np.float32)
            padded[: len(images)] = images.cpu().numpy()
            with _on(self._where):
                return torch.from_numpy(np.array(classify(arrays, padded))[: len(images)])

        device = self._execution.where()
        return [measure(predict, self._data, device, workers, together=_EVALUATION_BATCH)]

    @override
    def sums(self, units: np.ndarray, step: int) -> Any:
        try:
            return super().sums(units, step)
        except Exception as error:
            if is_out_of_memory(error):
                # The loop goes on with parts of half the size, and so must the padding.
                self._size = max(1, self._size // 2)
            raise

    @override
    def clipped(self, views: Views) -> tuple[dict[str, Tensor], Tensor]:
        images, targets, real = self._padded(views)
        with _on(self._where):
            total, norms = self._gradients(_arrays(self.params), images, targets, is_padding_example=~real)
        device = self._execution.where()
        # Copies, because an array of JAX cannot be written to; in torch's order, because JAX sorts names.
        totals = {name: torch.from_numpy(np.array(total[name])).to(device) for name in self.params}
        return totals, torch.from_numpy(np.asarray(norms)[real]).to(device)

    def _padded(self, views: Views) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images [size, K, C, R, R], targets [size, K, classes], and which of them are examples: bool [size]."""
        from jax_privacy.batch_selection import split_and_pad_global_batch

        size = -(-max(self._size, len(views.images)) // self._together) * self._together
        (places,) = split_and_pad_global_batch(np.arange(len(views.images)), size, self._together)
        real = places >= 0
        padded = []
        for tensor in (views.images, views.targets):
            given = tensor.cpu().numpy()
            whole = np.zeros((size, *given.shape[1:]), dtype=np.float32)
            whole[real] = given[places[real]]
            padded.append(whole)
        return padded[0], padded[1], real


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: value.detach().cpu().numpy() for name, value in tensors.items()}


def _on(device: Any) -> Any:
    import jax

    return jax.default_device(device)


def example_loss(spec: NetworkSpec) -> Callable[[Any, Any, Any], Any]:
    """The loss of one example in JAX, the mean over its K views of soft cross-entropy: `dpmix.privacy.loss` in JAX.

    It takes parameters by name, views [K, C, R, R] and soft labels [K, classes], and gives a scalar.
    """
    import jax
    import optax

    logits = pkgutil.resolve_name(str(spec.jax_logits))

    def loss(params: Any, views: Any, targets: Any) -> Any:
        # On a GPU too in float32, where JAX would else round products to 10 bits.
        with jax.default_matmul_precision("highest"):
            return optax.softmax_cross_entropy(logits(spec, params, views), targets).mean()

    return loss


# What is compiled serves all runs of a process with the same network, C and shapes.
@functools.lru_cache(maxsize=8)
def clipped_gradients(spec: NetworkSpec, clip_norm: float, together: int) -> Callable[..., tuple[Any, Any]]:
    """The compiled clipped sum.

    Args:
        spec: of the network.
        clip_norm: C.
        together: examples whose gradients exist at the same time; divides the size of a physical batch.

    Returns:
        A function of the parameters, views [n, K, C, R, R], targets [n, K, classes] and `is_padding_example`, bool [n],
        that gives the sum of the clipped gradients by name and the norms before clipping, float32 [n].
    """
    import jax

    gradients = _clipped_grad(spec, clip_norm, together)

    def summed(params: Any, views: Any, targets: Any, is_padding_example: Any) -> tuple[Any, Any]:
        total, more = gradients(params, views, targets, is_padding_example=is_padding_example)
        return total, more.grad_norms

    return jax.jit(summed)


def sensitivity(spec: NetworkSpec, clip_norm: float) -> float:
    """How far, by jax-privacy, adding or removing one example can move the clipped sum in L2 norm."""
    import dp_accounting

    return _clipped_grad(spec, clip_norm, 1).sensitivity(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)


def _clipped_grad(spec: NetworkSpec, clip_norm: float, together: int) -> Any:
    import jax
    import jax.numpy as jnp
    import jax_privacy
    import optax

    def finite_or_zero(gradient: Any) -> Any:
        """jax-privacy would put 0 for single entries; here an example counts whole or not at all, as in torch."""
        counts = jnp.isfinite(optax.global_norm(gradient))
        return jax.tree.map(lambda value: jnp.where(counts, value, 0.0), gradient)

    return jax_privacy.clipped_grad(
        example_loss(spec),
        argnums=0,
        batch_argnums=(1, 2),
        keep_batch_dim=False,  # the axis that is left is that of the views
        l2_clip_norm=clip_norm,
        return_grad_norms=True,
        pre_clipping_transform=finite_or_zero,
        microbatch_size=together,
    )


@functools.lru_cache(maxsize=8)
def classifier(spec: NetworkSpec) -> Callable[[Any, Any], Any]:
    """The compiled classifier: parameters and images, float32 [m, C, R, R] in [0, 1], to classes, int32 [m]."""
    import jax

    logits = pkgutil.resolve_name(str(spec.jax_logits))
    return jax.jit(lambda params, images: logits(spec, params, images).argmax(axis=1))
