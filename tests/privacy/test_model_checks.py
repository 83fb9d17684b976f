"""What a network does is found out without looking at a record, and without leaving a trace in it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dpmix.errors import PrivacyError
from dpmix.models.networks import build_network
from dpmix.params.models import WideResNetSpec
from dpmix.privacy.loss import ExampleLoss
from dpmix.privacy.model_checks import check_examples_independent, rules_cover

IMAGE = torch.zeros(1, 4, 4)


class Applied(nn.Module):
    """Some function of the features of a batch, [m, 4] -> [m, 4], between two linear layers."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.before, self.function, self.after = nn.Linear(16, 4), function, nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.function(self.before(x.flatten(1))))


class Remembers(nn.Module):
    """Keeps a running mean that it does not use; `in_place` or as a new tensor."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.head, self.in_place = nn.Linear(16, 3), in_place
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.in_place:
            self.mean.add_(x.mean())
        else:
            self.mean = self.mean + x.mean()
        return self.head(x.flatten(1))


class Borrows(nn.Module):
    """Uses a layer's weight without calling that layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x.flatten(1)))
        return self.second(nn.functional.linear(x, self.first.weight))


def layered(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), layer, nn.Flatten(), nn.Linear(16, 3))


def hidden(module: nn.Sequential) -> nn.Sequential:
    """The same with a last layer that starts at zero, as many do, so that nothing of it shows in the output."""
    nn.init.zeros_(module[-1].weight)
    nn.init.zeros_(module[-1].bias)
    return module


MIXING = {
    "batch norm without statistics": layered(nn.BatchNorm2d(4, track_running_stats=False)),
    "the same in eval mode": layered(nn.BatchNorm2d(4, track_running_stats=False)).eval(),
    "behind a layer of zeros": hidden(layered(nn.BatchNorm2d(4, track_running_stats=False))),
    "centred on the batch": Applied(lambda x: x - x.mean(dim=0)),
    "softmax over the batch": Applied(lambda x: torch.softmax(x, dim=0)),
    "neighbours": Applied(lambda x: x + x.roll(1, 0)),
    "attention over the batch": Applied(lambda x: torch.softmax(x @ x.T, dim=1) @ x),
    "scaled by its size": Applied(lambda x: x / len(x)),
}


@pytest.mark.parametrize("module", MIXING.values(), ids=MIXING.keys())
def test_what_mixes_examples_is_refused(module):
    with pytest.raises(PrivacyError, match="mixes examples") as raised:
        check_examples_independent(module, IMAGE)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("module", "buffer"),
    [
        (layered(nn.BatchNorm2d(4)), "1.running_mean"),
        (layered(nn.InstanceNorm2d(4, track_running_stats=True)), "1.running_mean"),
        (Remembers(in_place=True), "mean"),
        (Remembers(in_place=False), "mean"),
    ],
    ids=["batch norm", "instance norm", "in place", "replaced"],
)
def test_what_remembers_its_batches_is_refused(module, buffer):
    kept = {name: (value, value.clone()) for name, value in module.named_buffers()}
    with pytest.raises(PrivacyError, match=f"^{buffer} keeps statistics"):
        check_examples_independent(module, IMAGE)
    for name, value in module.named_buffers():
        assert value is kept[name][0]
        assert torch.equal(value, kept[name][1])


ALONE = {
    "group norm": layered(nn.GroupNorm(2, 4)),
    "frozen batch norm": layered(nn.BatchNorm2d(4)).eval(),
    "zeros": hidden(layered(nn.GroupNorm(2, 4))),
    "dropout": layered(nn.Dropout(0.5)),
    "dropout by function": Applied(lambda x: nn.functional.dropout(x, 0.5, training=True)),
    "noise": Applied(lambda x: x + torch.randn_like(x)),
    "in place": Applied(lambda x: x.mul_(2)),
}


@pytest.mark.parametrize("module", ALONE.values(), ids=ALONE.keys())
def test_what_keeps_examples_apart_passes_and_stays_as_it_is(module):
    state = {name: value.clone() for name, value in module.state_dict().items()}
    before = torch.get_rng_state()
    check_examples_independent(module, IMAGE)
    rules_cover(ExampleLoss(module), dict(module.named_parameters()), IMAGE, 3)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert all(value.grad is None and value.requires_grad for value in module.parameters())


def test_random_draws_do_not_hide_mixing():
    module = nn.Sequential(nn.Dropout(0.5), Applied(lambda x: x - x.mean(dim=0)))
    with pytest.raises(PrivacyError, match="mixes examples"):
        check_examples_independent(module, IMAGE)


def test_the_mode_counts():
    module = layered(nn.BatchNorm2d(4)).eval()
    check_examples_independent(module, IMAGE)
    with pytest.raises(PrivacyError, match="keeps statistics"):
        check_examples_independent(module.train(), IMAGE)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: x.mean(dim=0, keepdim=True), "a row of logits for each image"),
        (lambda x: x / 0, "not finite"),
    ],
    ids=["one row", "nan"],
)
def test_what_cannot_be_tried_is_refused(function, words):
    with pytest.raises(PrivacyError, match=words):
        check_examples_independent(Applied(function), IMAGE)


def test_several_outputs_are_refused():
    class Several(nn.Linear):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            rows = super().forward(x.flatten(1))
            return rows, rows

    with pytest.raises(PrivacyError, match="one tensor"):
        check_examples_independent(Several(16, 3), IMAGE)


def test_the_projects_own_network_passes():
    spec = WideResNetSpec(
        kind="wide-resnet", name="net", label="Net", depth=10, width=1, groups=2, base_channels=4, resolution=8
    )
    network, image = build_network(spec, 3, 5, seed=0).train(), torch.zeros(3, 8, 8)
    check_examples_independent(network, image)
    assert rules_cover(ExampleLoss(network), dict(network.named_parameters()), image, 5)


@pytest.mark.parametrize(
    "module", [ALONE["group norm"], ALONE["zeros"], ALONE["dropout"], ALONE["dropout by function"]]
)
def test_rules_cover_layers_that_are_called(module):
    assert rules_cover(ExampleLoss(module), dict(module.named_parameters()), IMAGE, 3)


def test_rules_do_not_cover_a_borrowed_weight():
    module = Borrows()
    names = dict(module.named_parameters())
    assert not rules_cover(ExampleLoss(module), names, IMAGE, 3)
    nn.init.zeros_(module.second.weight)  # no gradient reaches the borrowed one now
    assert not rules_cover(ExampleLoss(module), names, IMAGE, 3)
    assert rules_cover(ExampleLoss(module), ["second.weight", "second.bias"], IMAGE, 3)


def test_rules_do_not_cover_layers_without_one():
    module = layered(nn.BatchNorm2d(4)).eval()
    assert not rules_cover(ExampleLoss(module), dict(module.named_parameters()), IMAGE, 3)


def test_rules_do_not_cover_a_model_without_a_called_layer():
    module = Borrows()
    names = ["first.weight"]
    module.forward = lambda x: nn.functional.linear(x.flatten(1), module.first.weight)[:, :3]  # type: ignore[method-assign]
    assert not rules_cover(ExampleLoss(module), names, IMAGE, 3)
