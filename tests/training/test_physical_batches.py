"""Batches shrink where memory runs out, and no sum changes."""

import functools
import logging
import operator
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpmix.errors import DpmixError
from dpmix.privacy.clipping import clipped_sum, zero_sum
from dpmix.privacy.linear_heads import head_clipped_sum
from dpmix.privacy.loss import ExampleLoss, soft_cross_entropy
from dpmix.training import physical_batches
from dpmix.training.physical_batches import PhysicalBatches, is_out_of_memory
from tests.needs import LINUX, needs
from tests.privacy import checks
from tests.privacy.architectures import flat, parameters
from tests.tolerances import gamma, head_rounding

BACKENDS = ("sequential", "vectorized", "ghost", "reference")


def real_cuda() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 1 GiB")


def real_processor() -> None:
    torch.empty(1 << 60)


def real_numpy() -> None:
    np.empty(1 << 50)


kinds = pytest.mark.parametrize("run_out", [real_cuda, real_processor, real_numpy])


class Memory:
    """Runs out on the calls named, and whenever a part has more than `room` units."""

    def __init__(self, run_out=real_cuda, calls=(), room=10**9) -> None:
        self.run_out, self.calls, self.room = run_out, set(calls), room
        self.count = self.asked = 0
        self.parts: list[list[int]] = []

    def take(self, part: np.ndarray) -> None:
        self.count += 1
        self.asked = len(part)
        if self.count in self.calls or len(part) > self.room:
            self.run_out()

    def done(self, part: np.ndarray) -> None:
        self.parts.append(part.tolist())


@kinds
def test_what_allocators_raise(run_out):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        run_out()
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GB)"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: not enough memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
        (DpmixError("out of memory"), False),
    ],
)
def test_what_is_running_out_of_memory(error, expected):
    assert is_out_of_memory(error) == expected


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=4), st.integers(1, 30), st.sets(st.integers(1, 12), max_size=4)
)
def test_every_unit_exactly_once_and_in_order(sizes, size, calls):
    """Whatever fails: as long as single units fit, each is counted once; otherwise one clear error."""
    batches, memory = PhysicalBatches(size), Memory(calls=calls)
    before = size
    for logical in sizes:
        units = np.arange(logical) * 3
        memory.parts.clear()

        def compute(part):
            memory.take(part)
            memory.done(part)
            return int(part.sum())

        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(physical_batches, "_free", lambda: None)  # which takes a while
                results = list(batches.run(units, compute))
        except DpmixError:
            assert memory.asked == 1
            return
        assert [unit for part in memory.parts for unit in part] == units.tolist()
        assert results == [sum(part) for part in memory.parts]
        assert all(len(part) <= before for part in memory.parts)
        assert 1 <= batches.size <= before
        before = batches.size
    assert before <= size


@kinds
def test_halved_remembered_and_said_once(run_out, caplog):
    memory, batches = Memory(run_out, room=3), PhysicalBatches(16)

    def compute(part):
        memory.take(part)
        memory.done(part)
        return part.sum()

    with caplog.at_level(logging.WARNING):
        assert sum(batches.run(np.arange(20), compute)) == 190
    assert [len(part) for part in memory.parts] == [2] * 10
    assert [record.message for record in caplog.records] == [
        "out of memory in physical batches of 16; going on with 8",
        "out of memory in physical batches of 8; going on with 4",
        "out of memory in physical batches of 4; going on with 2",
    ]
    assert memory.count == 13
    caplog.clear()
    memory.parts.clear()
    assert sum(batches.run(np.arange(5), compute)) == 10
    assert [len(part) for part in memory.parts] == [2, 2, 1]
    assert not caplog.records
    assert batches.size == 2


def test_nothing_that_is_said_or_kept_depends_on_how_many_were_sampled(caplog):
    """The size of a last part is the size of a secret sample."""
    said = []
    for sampled in (9, 10, 13):
        memory, batches = Memory(room=8), PhysicalBatches(64)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            list(batches.run(np.arange(sampled), lambda part, memory=memory: (memory.take(part), memory.done(part))))
        assert memory.parts[0] == list(range(8))
        said.append(([record.message for record in caplog.records], batches.size))
    assert said == [said[0]] * 3
    assert said[0][1] == 8


@kinds
def test_one_example_that_does_not_fit(run_out):
    batches = PhysicalBatches(4)
    with pytest.raises(DpmixError, match=r"^out of memory with one example at a time; use fewer views .*\)$") as caught:
        list(batches.run(np.arange(3), lambda part: run_out()))
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError | MemoryError)


def test_other_errors_are_passed_on():
    batches = PhysicalBatches(4)
    for error in (RuntimeError("shapes do not agree"), KeyError("name"), KeyboardInterrupt()):

        def fail(part, error=error):
            raise error

        with pytest.raises(type(error)) as caught:
            list(batches.run(np.arange(3), fail))
        assert caught.value is error
    assert batches.size == 4


def test_nothing_to_do():
    assert list(PhysicalBatches(4).run(np.arange(0), lambda part: part)) == []
    with pytest.raises(ValueError, match="at least one unit, not 0"):
        PhysicalBatches(0)


def test_what_failed_is_freed_before_the_next_attempt():
    held = []

    def compute(part):
        assert not any(reference() is not None for reference in held)
        activations = torch.ones(100)
        cycle = [activations]
        cycle.append(cycle)
        held.append(weakref.ref(activations))
        if len(part) > 1:
            real_cuda()

    list(PhysicalBatches(4).run(np.arange(1, 5), lambda part: compute(part) if len(held) < 3 else None))
    assert len(held) == 3


def test_a_result_that_is_dropped_is_gone_when_the_next_part_begins():
    held = []

    def compute(part):
        assert not any(reference() is not None for reference in held)
        result = torch.ones(100)
        held.append(weakref.ref(result))
        return result

    total = torch.zeros(100)
    for result in PhysicalBatches(2).run(np.arange(6), compute):
        total += result
        del result
    assert len(held) == 3


@pytest.mark.parametrize("backend", BACKENDS)
@kinds
def test_clipped_sums_of_a_disturbed_batch(backend, run_out):
    """Memory runs out in the middle of a part's forward passes."""
    module = checks.small_network()
    params = parameters(module)
    views, targets = checks.small_batch(11, 3)
    units = np.arange(11)

    def total(size, calls=()):
        memory, batches = Memory(run_out, calls), PhysicalBatches(size)

        def criterion(outputs, labels):
            memory.take(units[:0])
            return soft_cross_entropy(outputs, labels)

        def compute(part):
            loss = ExampleLoss(module, criterion)
            found = clipped_sum(loss, params, views[part], targets[part], 1.0, backend=backend)
            memory.done(part)
            return found

        found = functools.reduce(operator.add, batches.run(units, compute), zero_sum(params, 1.0))
        assert not any(layer._forward_hooks for layer in module.modules())
        return found, memory.parts

    # One call a part, or one call an example: the second part of four fails on its second example.
    disturbed, parts = total(4, [6] if backend == "sequential" else [2])
    assert [len(part) for part in parts] == [4, 2, 2, 2, 1]
    again = zero_sum(params, 1.0)
    for part in parts:
        again = again + clipped_sum(ExampleLoss(module), params, views[part], targets[part], 1.0, backend=backend)
    assert torch.equal(flat(disturbed.total), flat(again.total))
    assert torch.equal(disturbed.norms, again.norms)
    undisturbed, parts = total(4)
    assert [len(part) for part in parts] == [4, 4, 3]
    # Gradients of at most 1 from sums of no more than 64 products (an image's pixels), added up in another order; and
    # norms of all numbers of a gradient.
    distance = float((flat(disturbed.total) - flat(undisturbed.total)).norm())
    assert distance <= 2 * gamma(64 + len(units)) * len(units) ** 0.5
    longest = 64 + sum(value.numel() for value in params.values())
    assert torch.allclose(disturbed.norms, undisturbed.norms, rtol=2 * gamma(longest), atol=0)
    # Where the parts are the same, so is every bit: it ran out before anything was done.
    disturbed, parts = total(11, [1])
    halves, same = total(5)
    assert [len(part) for part in parts] == [5, 5, 1] == [len(part) for part in same]
    assert torch.equal(flat(disturbed.total), flat(halves.total))


def test_sums_of_heads_are_tuples():
    features, targets = torch.rand(7, 2, 5), torch.softmax(torch.randn(7, 2, 3), dim=2)
    weights, clip_norms = torch.randn(2, 3, 5), torch.tensor([0.1, 1.0])
    memory, batches = Memory(calls=[2]), PhysicalBatches(3)

    def compute(part):
        memory.take(part)
        return head_clipped_sum(features[part], targets[part], weights, clip_norms)

    total, norms = torch.zeros_like(weights), []
    for part_sum, part_norms in batches.run(np.arange(7), compute):
        total += part_sum
        norms.append(part_norms)
    expected, lengths = head_clipped_sum(features, targets, weights, clip_norms)
    bound = head_rounding(features, targets, weights, clip_norms)
    assert ((total - expected).flatten(1).norm(dim=1) <= 2 * bound.totals).all()
    assert ((torch.cat(norms, dim=1) - lengths).abs() <= 2 * bound.norms).all()
    assert [norm.shape[1] for norm in norms] == [3, 1, 1, 1, 1]


LIMITED = """
import functools, logging, operator, resource
import numpy as np, torch
from dpmix.training import physical_batches
from dpmix.privacy.loss import ExampleLoss
from dpmix.privacy.clipping import clipped_sum
from dpmix.privacy.clipping import zero_sum
from dpmix.training.physical_batches import PhysicalBatches

torch.manual_seed(0)
torch.set_num_threads(1)
module = torch.nn.Sequential(torch.nn.Linear(64, 4096), torch.nn.Tanh(), torch.nn.Linear(4096, 3))
params = {name: value.detach() for name, value in module.named_parameters()}
views, targets = torch.rand(96, 2, 64), torch.softmax(torch.randn(96, 2, 3), dim=2)
compute = lambda part: clipped_sum(ExampleLoss(module), params, views[part], targets[part], 1.0, backend="vectorized")
units, start = np.arange(96), zero_sum(params, 1.0)
expected = functools.reduce(operator.add, PhysicalBatches(4).run(units, compute), start)
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
# Per-example gradients take a MiB an example.
resource.setrlimit(resource.RLIMIT_AS, (pages + 64 * 2**20, resource.RLIM_INFINITY))
batches = PhysicalBatches(96)
found = functools.reduce(operator.add, batches.run(units, compute), start)
assert batches.size < 64, batches.size
for name, value in expected.total.items():
    assert torch.allclose(found.total[name], value, rtol=1e-5, atol=1e-6), name
assert torch.allclose(found.norms, expected.norms)
print(batches.size)
"""


@pytest.mark.slow
@needs(LINUX, sys.platform.startswith("linux"))
def test_memory_that_really_runs_out(repository):
    done = subprocess.run([sys.executable, "-c", LIMITED], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) in (1, 3, 6, 12, 24, 48)
    lines = done.stderr.strip().splitlines()
    assert lines[0].startswith("out of memory in physical batches of 96; going on with 48")
    assert all(line.startswith("out of memory in") for line in lines)
