import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dpmix.errors import ParamsError
from dpmix.privacy import clipping
from dpmix.privacy import loss as privacy_loss
from dpmix.privacy.backend_choice import BACKENDS
from dpmix.privacy.clipping import clipped_sum
from dpmix.privacy.loss import ExampleLoss, soft_cross_entropy
from dpmix.privacy.modes import AutoS, Flat, PerLayer
from dpmix.privacy.precision import PRECISIONS, autocast, check_precision, full_float32
from tests.privacy import checks
from tests.privacy.architectures import batch, flat, image_networks, naive, parameters, text_networks

RULED = ("sequential", "vectorized", "ghost", "reference")
every_backend = pytest.mark.parametrize("backend", BACKENDS)
CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.parametrize("mode", [Flat(), AutoS(), PerLayer()], ids=["flat", "AUTO-S", "per layer"])
@every_backend
def test_the_norm_is_that_of_what_is_added(mode, backend, name):
    checks.check_norm_of_what_is_added(mode, backend, name)


@given(
    st.one_of(image_networks(), text_networks()), st.integers(1, 4), st.integers(1, 3), st.integers(0, 999),
    st.sampled_from(RULED), st.sampled_from([Flat(), AutoS(), PerLayer()]),
)  # fmt: skip
@settings(max_examples=40)
def test_low_precision_is_near_and_bounded(network, n, k, seed, backend, mode):
    module, image = network
    views, targets = batch(module, image, n, k, seed)
    params, loss = parameters(module), ExampleLoss(module)
    for one in range(n):
        found = clipped_sum(
            loss, params, views[[one]], targets[[one]], 0.05, backend=backend, mode=mode, precision="bfloat16"
        )
        assert float(flat(found.total).norm()) <= 0.05 * (1 + 1e-6)
        assert all(value.dtype == torch.float32 for value in found.total.values())
        assert found.norms.dtype == torch.float32


class Scaled(nn.Module):
    """A layer norm that names its weight, and has no bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, width))

    def forward(self, x):
        return nn.functional.layer_norm(x, (x.shape[-1],), weight=self.weight)


NORMS = {
    "layer norm": nn.LayerNorm(16),
    "layer norm without bias": nn.LayerNorm(16, bias=False),
    "layer norm without weights": nn.LayerNorm(16, elementwise_affine=False),
    "layer norm by name": Scaled(16),
    "group norm": nn.GroupNorm(2, 16),
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("backend", ["reference", "sequential"])
def test_norms_in_low_precision_are_near_those_of_a_loop(backend, norm):
    """Also where `vmap` has no rule for a layer norm of bfloat16 inputs with float32 weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), NORMS[norm], nn.Tanh(), nn.Linear(16, 3))
        views, targets = torch.rand(4, 3, 3, 2, 2), torch.rand(4, 3, 3)
    params = parameters(module)
    found = clipped_sum(ExampleLoss(module), params, views, targets, 1e4, backend=backend, precision="bfloat16")
    expected = flat({name: value.sum(dim=0) for name, value in naive(module, params, views, targets).items()})
    distance = float((flat(found.total) - expected).norm() / expected.norm())
    assert 1e-5 < distance < 3e-2


@pytest.mark.parametrize("backend", RULED)
def test_passes_are_in_low_precision_and_their_gradients_near(backend):
    module = checks.small_network()
    views, targets = checks.small_batch(4, 3)
    params = parameters(module)
    expected = naive(module, params, views, targets)
    seen = []

    def criterion(outputs, targets):
        seen.append(outputs.dtype)
        return privacy_loss.soft_cross_entropy(outputs, targets)

    handle = module[0].register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    found = clipped_sum(
        ExampleLoss(module, criterion), params, views, targets, 1e4, backend=backend, precision="bfloat16"
    )
    handle.remove()
    assert set(seen[-2:]) == {torch.bfloat16, torch.float32}
    total = {name: value.sum(dim=0) for name, value in expected.items()}
    distance = float((flat(found.total) - flat(total)).norm() / flat(total).norm())
    assert 1e-5 < distance < 3e-2


@pytest.mark.parametrize("backend", RULED)
def test_float16_scales_its_loss(backend, monkeypatch):
    """On a processor, where it is refused for being slow, so that it is tested at all."""
    monkeypatch.setattr(clipping, "check_precision", lambda *_: None)
    module = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
    params = parameters(module)
    views, targets = torch.rand(2, 2, 8), torch.eye(3)[torch.tensor([[0, 1], [2, 2]])]
    # So small a loss that float16 has hardly a number for its gradients: its smallest is 6e-8.
    loss = ExampleLoss(module, lambda outputs, targets: 2.0**-21 * privacy_loss.soft_cross_entropy(outputs, targets))
    expected = clipped_sum(loss, params, views, targets, 1.0, backend=backend)
    found = clipped_sum(loss, params, views, targets, 1.0, backend=backend, precision="float16")
    distance = float((flat(found.total) - flat(expected.total)).norm() / flat(expected.total).norm())
    assert distance < 0.02
    for where in ("clipping", "per_example", "ghost"):
        monkeypatch.setattr(f"dpmix.privacy.{where}.loss_scale", lambda _: 1.0)
    lost = clipped_sum(loss, params, views, targets, 1.0, backend=backend, precision="float16")
    assert float((flat(lost.total) - flat(expected.total)).norm() / flat(expected.total).norm()) > 0.1


@pytest.mark.parametrize("backend", RULED)
def test_what_leaves_float16_counts_for_nothing(backend, monkeypatch):
    monkeypatch.setattr(clipping, "check_precision", lambda *_: None)
    module = nn.Linear(4, 3)
    views, targets = torch.rand(2, 1, 4), torch.softmax(torch.randn(2, 1, 3), dim=2)
    views[1] = 1e5
    found = clipped_sum(
        ExampleLoss(module), parameters(module), views, targets, 0.1, backend=backend, precision="float16"
    )
    assert torch.isfinite(found.norms).tolist() == [True, False]
    assert torch.isfinite(flat(found.total)).all()
    assert float(flat(found.total).norm()) <= 0.1 * (1 + 1e-6)


@every_backend
def test_float32_is_float32_within_the_callers_autocast(backend):
    module = checks.small_network()
    views, targets = checks.small_batch(3, 2)
    expected = clipped_sum(ExampleLoss(module), parameters(module), views, targets, 0.5, backend=backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = clipped_sum(ExampleLoss(module), parameters(module), views, targets, 0.5, backend=backend)
    distance = float((flat(found.total) - flat(expected.total)).norm() / flat(expected.total).norm())
    assert distance < 1e-5
    assert torch.equal(found.norms, expected.norms)


def test_precisions_that_a_device_lacks():
    assert PRECISIONS == ("float32", "bfloat16", "float16")
    check_precision("float32", CPU)
    check_precision("bfloat16", CPU)
    check_precision("float32", torch.device("meta"))
    module = nn.Linear(2, 2)
    for name, device, words in [
        ("half", CPU, "unknown precision 'half'; there are float32, bfloat16, float16"),
        ("float23", CPU, "unknown precision 'float23'; did you mean 'float32'?"),
        ("float16", CPU, "float16 needs a GPU; set precision to bfloat16 or float32"),
        ("bfloat16", torch.device("meta"), "no bfloat16 for meta devices; set precision to float32"),
    ]:
        with pytest.raises(ParamsError, match=words):
            check_precision(name, device)
    with pytest.raises(ParamsError, match="float16 needs a GPU"):
        clipped_sum(
            ExampleLoss(module), parameters(module), torch.rand(1, 1, 2), torch.rand(1, 1, 2), 1.0, precision="float16"
        )


@pytest.mark.parametrize("has", [True, False])
def test_bfloat16_on_gpus(monkeypatch, has):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    check_precision("float16", torch.device("cuda"))
    if has:
        check_precision("bfloat16", torch.device("cuda"))
    else:
        with pytest.raises(ParamsError, match="Old GPU has no bfloat16; set precision to float16 or float32"):
            check_precision("bfloat16", torch.device("cuda"))


def test_autocast():
    x = torch.rand(4, 4)
    for name in ("bfloat16", "float16"):
        with autocast(name, "cpu"):
            assert (x @ x).dtype == getattr(torch, name)
            with autocast("float32", "cpu"):
                assert (x @ x).dtype == torch.float32
    with autocast("float32", "meta"):
        pass


@pytest.mark.parametrize("backend", RULED)
@pytest.mark.parametrize("before", [False, True])
def test_convolutions_repeat_and_the_setting_is_put_back(monkeypatch, backend, before):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", before)
    module, seen = nn.Linear(2, 2), []

    def criterion(outputs, targets):
        seen.append(torch.backends.cudnn.deterministic)
        return soft_cross_entropy(outputs, targets)

    views, targets = torch.rand(2, 1, 2), torch.rand(2, 1, 2)
    clipped_sum(ExampleLoss(module, criterion), parameters(module), views, targets, 1.0, backend=backend)
    assert seen
    assert all(seen)
    assert torch.backends.cudnn.deterministic is before


def set_by_old_name(value):
    return lambda: torch.set_float32_matmul_precision(value)


def set_by_tf32_flag():
    torch.backends.cuda.matmul.allow_tf32 = True


def set_by_new_name(backend, value):
    def change():
        getattr(torch.backends, backend).matmul.fp32_precision = value

    return change


def set_for_everything():
    torch.backends.fp32_precision = "tf32"


def state():
    """Every switch for float32 products, as both of torch's interfaces tell it."""
    seen = [torch._C._get_fp32_precision_getter(*one) for one in (("generic", "all"), *SWITCHES)]
    for ask in (torch.get_float32_matmul_precision, lambda: torch.backends.cuda.matmul.allow_tf32):
        try:
            seen.append(ask())
        except RuntimeError:
            seen.append("contradiction")
    return seen


SWITCHES = [("cuda", "matmul"), ("cuda", "conv"), ("mkldnn", "matmul"), ("mkldnn", "conv"), ("mkldnn", "rnn")]


@pytest.fixture
def settings_of_torch():
    """Puts torch's settings back as they are by default."""
    yield
    torch.set_float32_matmul_precision("highest")
    for switch in (("generic", "all"), ("cuda", "matmul"), ("mkldnn", "matmul")):
        torch._C._set_fp32_precision_setter(*switch, "none")


@pytest.mark.parametrize(
    "change",
    [
        lambda: None,
        set_by_old_name("high"),
        set_by_old_name("medium"),
        set_by_tf32_flag,
        set_by_new_name("cuda", "tf32"),
        set_by_new_name("cuda", "ieee"),
        set_by_new_name("mkldnn", "bf16"),
        set_for_everything,
    ],
    ids=["default", "high", "medium", "flag", "cuda tf32", "cuda ieee", "mkldnn bf16", "everything"],
)
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.usefixtures("settings_of_torch")
def test_all_bits_of_float32_and_settings_put_back(change, fails):
    change()
    before = state()
    try:
        with full_float32("cpu"), full_float32("cpu"):
            assert torch._C._get_fp32_precision_getter("cuda", "matmul") in ("ieee", "none")
            assert torch._C._get_fp32_precision_getter("mkldnn", "matmul") in ("ieee", "none")
            # Neither interface raises, as it would if one contradicted the other.
            assert torch.get_float32_matmul_precision() == "highest"
            assert torch.backends.cuda.matmul.allow_tf32 is False
            if fails:
                raise ArithmeticError
    except ArithmeticError:
        assert fails
    assert state() == before


@pytest.mark.usefixtures("settings_of_torch")
def test_an_inherited_setting_stays_inherited():
    set_for_everything()
    with full_float32("cpu"):
        pass
    torch.backends.fp32_precision = "ieee"
    assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"


@pytest.mark.usefixtures("settings_of_torch")
@pytest.mark.parametrize("backend", RULED)
def test_norms_and_sums_do_not_depend_on_torchs_settings(backend):
    # Convolutions alone, so that forward and backward passes have no matrix products that may lose bits.
    module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Tanh(), nn.Conv2d(8, 3, 6), nn.Flatten())
    views, targets = checks.small_batch(5, 2)
    params = parameters(module)
    sums = []
    for value in ("highest", "medium"):
        torch.set_float32_matmul_precision(value)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            sums.append(clipped_sum(ExampleLoss(module), params, views, targets, 0.1, backend=backend))
    assert torch.equal(flat(sums[0].total), flat(sums[1].total))
    assert torch.equal(sums[0].norms, sums[1].norms)


def test_nothing_is_logged(caplog):
    with caplog.at_level(logging.DEBUG):
        clipped_sum(
            ExampleLoss(checks.small_network()), parameters(checks.small_network()), *checks.small_batch(2, 2), 1.0
        )
    assert not caplog.records
