"""What the options of a step ask for reaches the code that computes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.measurements import Distance, ZeroShot
from dpmix.catalogue.catalogue import Catalogue
from dpmix.cli import steps
from dpmix.data.images import Images
from dpmix.models import encoder, encoder_files
from dpmix.privacy.noise import SeededNoise
from dpmix.training import embedded_views, network, scratch
from tests.cli.conftest import BATCH, TRAIN, of, step

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many examples' views are made together, time after time; the real function makes them."""
    seen: list[int] = []
    places = ((embedded_views, "make_views"), (embedded_views, "make_union_views"), (network, "make_views"))
    for module, name in places:
        original = getattr(module, name)

        def counted(private: Images, indices: np.ndarray, *rest: Any, original: Any = original, **named: Any) -> Any:
            seen.append(len(indices))
            return original(private, indices, *rest, **named)

        monkeypatch.setattr(module, name, counted)
    return seen


def test_as_many_examples_are_computed_together_as_the_params_say(
    made: Callable[..., Catalogue], parts: list[int]
) -> None:
    step("train", of(made(physical_batch=7), Experiment, "eye"))
    assert max(parts) == 7
    assert sum(parts) > BATCH


def test_or_as_the_option_says(made: Callable[..., Catalogue], parts: list[int]) -> None:
    step("train", of(made(physical_batch=7), Experiment, "eye"), "--physical-batch", "5")
    assert max(parts) == 5


def test_those_of_a_network_from_scratch_are_the_same_whatever_is_said(
    made: Callable[..., Catalogue], parts: list[int]
) -> None:
    run = of(made(physical_batch=7), Experiment, "net")
    made_first = step("train", run)
    said = list(parts)
    assert sum(said) > BATCH
    made_first.unlink()
    parts.clear()
    step("train", run, "--physical-batch", "5")
    assert parts == said


class Killed(BaseException):
    """As a signal that nobody handles."""


@pytest.mark.parametrize("seconds", [None, 0])
@pytest.mark.parametrize("model", ["eye", "net"])
def test_a_killed_run_goes_on_from_where_the_option_had_it_kept(
    made: Callable[..., Catalogue], monkeypatch: pytest.MonkeyPatch, model: str, seconds: int | None
) -> None:
    """Every 300 s unless told otherwise: a run that is over sooner is begun anew."""
    run = of(made(), Experiment, model)
    options = [] if seconds is None else ["--checkpoint-seconds", str(seconds)]
    original, steps = SeededNoise.add, []

    def killed(self: SeededNoise, total: Any, std: Any, *, step: int, name: str) -> Any:
        steps.append(step)
        if step == 5:
            raise Killed
        return original(self, total, std, step=step, name=name)

    with monkeypatch.context() as patch:
        patch.setattr(SeededNoise, "add", killed)
        with pytest.raises(Killed):
            step("train", run, *options)
    kept = list(Path("results/demo/checkpoints").glob("*.safetensors"))
    assert len(kept) == (0 if seconds is None else 1)
    steps.clear()

    def watched(self: SeededNoise, total: Any, std: Any, *, step: int, name: str) -> Any:
        steps.append(step)
        return original(self, total, std, step=step, name=name)

    monkeypatch.setattr(SeededNoise, "add", watched)
    step("train", run, *options)
    assert min(steps) == (0 if seconds is None else 5)
    assert max(steps) == 2 * TRAIN // BATCH - 1


def test_the_backend_and_the_threads_are_those_of_the_options(
    made: Callable[..., Catalogue], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, original = of(made(), Experiment, "net"), scratch.clipped_sum
    seen: set[tuple[str, int]] = set()

    def watched(*arguments: Any, backend: str, **named: Any) -> Any:
        seen.add((backend, torch.get_num_threads()))
        return original(*arguments, backend=backend, **named)

    monkeypatch.setattr(scratch, "clipped_sum", watched)
    before = torch.get_num_threads()
    try:
        for backend, threads in (("reference", 2), ("vectorized", 1)):
            path = step("train", run, "--backend", backend, "--threads", str(threads))
            path.unlink()
    finally:
        torch.set_num_threads(before)
    assert seen == {("reference", 2), ("vectorized", 1)}


@pytest.fixture
def precisions(monkeypatch: pytest.MonkeyPatch) -> set[torch.dtype | None]:
    """In what precision images are embedded; None is single."""
    seen: set[torch.dtype | None] = set()
    original = encoder.Encoder.__call__

    def watched(self: encoder.Encoder, images: torch.Tensor) -> torch.Tensor:
        seen.add(self._dtype)
        embedded = original(self, images)
        # And it is what was computed: other digits than those of single precision.
        plain = encoder_files.load_encoder(Path(self.name), dtype=torch.float32)
        assert torch.equal(embedded, original(plain, images)) == (self._dtype is None)
        return embedded

    monkeypatch.setattr(encoder.Encoder, "__call__", watched)
    return seen


STEPS = {"train": Experiment, "zero-shot": ZeroShot, "distances": Distance}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize(("precision", "expected"), [("bfloat16", torch.bfloat16), ("float32", None), ("auto", None)])
def test_encoders_compute_in_the_precision_of_the_params(
    made: Callable[..., Catalogue],
    precisions: set[torch.dtype | None],
    name: str,
    precision: str,
    expected: torch.dtype | None,
) -> None:
    catalogue = made(encoder_precision=precision)
    step(name, of(catalogue, STEPS[name], None if name == "distances" else "eye"))
    assert precisions == {expected}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("compiled", [True, False])
def test_encoders_are_compiled_if_the_params_say_so(
    made: Callable[..., Catalogue], monkeypatch: pytest.MonkeyPatch, name: str, compiled: bool
) -> None:
    catalogue, asked = made(compile_encoder=compiled), []
    original = encoder._compiled

    def watched(visual: Any, device: torch.device, wanted: bool) -> Any:
        asked.append(wanted)
        return original(visual, device, wanted)

    monkeypatch.setattr(encoder, "_compiled", watched)
    step(name, of(catalogue, STEPS[name], None if name == "distances" else "eye"))
    assert set(asked) == {compiled}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", [name for name in STEPS if name != "train"])
def test_encoders_compute_on_the_threads_of_the_option(
    made: Callable[..., Catalogue], monkeypatch: pytest.MonkeyPatch, name: str, threads: int
) -> None:
    seen: set[int] = set()
    original, before = encoder.Encoder.__call__, torch.get_num_threads()

    def watched(self: encoder.Encoder, images: torch.Tensor) -> torch.Tensor:
        seen.add(torch.get_num_threads())
        return original(self, images)

    monkeypatch.setattr(encoder.Encoder, "__call__", watched)
    one = of(made(), STEPS[name], None if name == "distances" else "eye")
    try:
        step(name, one, "--threads", str(threads))
    finally:
        torch.set_num_threads(before)
    assert seen == {threads}


def test_the_mean_of_a_table_is_over_its_cells_and_not_over_reference_rows(tmp_path: Path) -> None:
    def cell(row: str, values: list[float], end: bool = False) -> dict[str, Any]:
        said = {"note": "", "paper": None, "statistic": "mean", "epsilon": 1.0}
        return {"row": [row], "column": [], "values": values, "end": end, **said}

    table = {
        "name": "12", "title": "T", "caption": "", "unit": "accuracy", "scale": "demo", "decimals": 1, "notes": [],
        "row_names": ["Method"], "column_names": [],
        "cells": [cell("A", [80, 82]), cell("B", [71]), cell("C", [1], end=True)],
    }  # fmt: skip
    (tmp_path / "table12.json").write_text(json.dumps(table))
    steps.mean(tmp_path / "table12.json", tmp_path / "means" / "table12.json")
    assert json.loads((tmp_path / "means" / "table12.json").read_text()) == {"table12": 76.0}
