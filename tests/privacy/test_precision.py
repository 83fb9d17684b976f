import pytest
import torch

from dpmix.privacy.precision import full_precision


@pytest.fixture
def medium():
    """Float32 products may be rounded to bfloat16, where the processor does that."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def settings() -> tuple[str, str, str]:
    matmul = torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision
    return *matmul, torch.get_float32_matmul_precision()


def test_products_of_float32_are_exact_to_float32(medium):
    a, b = (torch.randn(300, 300, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    with full_precision():
        found = a @ b
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    exact = a.double() @ b.double()
    assert float((found - exact).norm() / exact.norm()) < 1e-6


def test_the_settings_come_back(medium):
    before = settings()
    assert before == ("tf32", "bf16", "medium")
    with pytest.raises(ZeroDivisionError), full_precision():
        raise ZeroDivisionError
    assert settings() == before
