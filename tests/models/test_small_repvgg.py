import pytest
import torch

from dpmix.models import small_repvgg

pytestmark = pytest.mark.filterwarnings("ignore")


def test_fusing_keeps_the_function() -> None:
    torch.manual_seed(0)
    trained = small_repvgg.branched(num_classes=0)
    for module in trained.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    images = torch.rand(3, 3, 32, 32)
    fused = small_repvgg.fused(trained.eval())
    with torch.no_grad():
        torch.testing.assert_close(fused(images), trained(images), rtol=1e-4, atol=1e-4)
    assert sum(isinstance(module, torch.nn.Conv2d) for module in fused.modules()) == 5
