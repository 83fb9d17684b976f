import os
import subprocess
import sys

import pytest

from dpmix.errors import ParamsError
from dpmix.training.jax_start import start
from dpmix.training.runner import make
from tests.needs import JAX_PRIVACY, LINUX, module, needs
from tests.training.conftest import World


@pytest.mark.parametrize("missing", ["jax", "jax_privacy"])
def test_where_it_is_not_installed_one_line_says_how(
    world: World, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    run = world.scratch(engine="jax")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, missing, None)
        with pytest.raises(ParamsError, match="engine: jax needs jax-privacy, which is not installed here") as caught:
            make([run], "demo")
    assert "make install, or pip install 'jax-privacy>=2,<3', or set engine: torch" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not run.directory("demo").exists()
    make([run.model_copy(update={"engine": "torch"})], "demo")
    assert run.model_copy(update={"engine": "torch"}).path("demo").is_file()


def in_a_new_process(program: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in ("NPROC", "JAX_PLATFORMS")}
    run = subprocess.run(
        [sys.executable, "-c", program], env={**clean, **environment}, capture_output=True, text=True, check=True
    )
    return run.stdout


THREADS = """
import os
import torch
torch.set_num_threads({threads})
from dpmix.training.jax_start import start
device = start("cpu")
import jax
jax.jit(lambda x: x @ x)(jax.numpy.ones((600, 600))).block_until_ready()
names = [open(f"/proc/self/task/{{task}}/comm").read().strip() for task in os.listdir("/proc/self/task")]
print(device.platform, names.count("tf_XLAEigen"), os.environ.get("NPROC"), os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"])
"""


@needs(LINUX, sys.platform == "linux")
def test_it_has_torchs_threads_and_takes_no_memory_in_advance() -> None:
    module("jax_privacy", JAX_PRIVACY)
    assert in_a_new_process(THREADS.format(threads=3)) == "cpu 3 None false\n"


@needs(LINUX, sys.platform == "linux")
def test_what_the_environment_says_stays() -> None:
    module("jax_privacy", JAX_PRIVACY)
    said = in_a_new_process(THREADS.format(threads=1), NPROC="2", XLA_PYTHON_CLIENT_PREALLOCATE="true")
    assert said == "cpu 2 2 true\n"


def test_it_is_imported_for_its_own_runs_only() -> None:
    program = "import sys, dpmix.training.runner, dpmix.training.scratch; print('jax' in sys.modules)"
    assert in_a_new_process(program) == "False\n"


def test_without_a_gpu_the_processor_computes_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    jax = module("jax", JAX_PRIVACY)
    module("jax_privacy", JAX_PRIVACY)
    assert start("cpu").platform == "cpu"
    assert capsys.readouterr().err == ""
    if any(device.platform == "gpu" for device in jax.devices()):
        assert start("cuda").platform == "gpu"
    else:
        assert start("cuda").platform == "cpu"
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("JAX has no GPU here, so that the processor computes")
