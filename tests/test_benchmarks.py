"""The benchmarks measure what they say, and compare what computes the same."""

import csv
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import __main__ as bench
from benchmarks import cases, company, digests, features, gpu, learning_rate, measure, memory, stream
from benchmarks.cases import Dense, Problem
from dpmix.data.images import Images
from dpmix.errors import DpmixError
from dpmix.models.features import Featurizer
from dpmix.views.settings import ViewSettings
from tests.needs import JAX_PRIVACY, OPAKE, module
from tests.privacy.architectures import flat

TINY = Problem(3, 2, depth=10, width=1, resolution=8, classes=4)
DENSE = Dense(3, 1, depth=2, width=16, classes=4)
HEAD = {"n": 6, "k": 3, "d": 8, "classes": 5}


def same(found, expected):
    """To what float32 leaves of sums behind group norms of a few pixels; bfloat16 is a hundred times further off."""
    assert found.keys() == expected.keys()
    return float((flat(found) - flat(expected)).norm()) <= 1.5e-3 * float(flat(expected).norm())


@pytest.mark.filterwarnings("ignore")  # Opacus's own
def test_all_who_clip_compute_the_same():
    expected = cases.clipped(TINY, "auto", 3)()
    assert same(cases.clipped(TINY, "sequential", 1)(), expected)
    assert same(cases.clipped(TINY, "vectorized", 2)(), expected)
    assert same(cases.clipped(TINY, "reference", 3)(), expected)
    assert same(cases.clipped(TINY, "ghost", 2)(), expected)
    assert same(cases.vmap_per_view(TINY)(), expected)
    step = cases.opacus(TINY)
    step()
    assert same(step(), expected)  # a second step has nothing left of the first
    low = Problem(3, 2, depth=10, width=1, resolution=8, classes=4, precision="bfloat16")
    assert not same(cases.clipped(low, "auto", 3)(), expected)


@pytest.mark.slow
def test_both_engines_compute_the_same():
    module("jax_privacy", JAX_PRIVACY)
    assert same(cases.jax_privacy(TINY)(), cases.clipped(TINY, "auto", 3)())


@pytest.mark.filterwarnings("ignore")
def test_ghost_clipping_computes_the_same_as_opacus():
    expected = cases.clipped(DENSE, "reference", 3)()
    assert same(cases.clipped(DENSE, "ghost", 3)(), expected)
    step = cases.opacus_ghost(DENSE)
    step()
    assert same(step(), expected)
    with pytest.raises(DpmixError, match="no mean over views"):
        cases.opacus_ghost(replace(DENSE, k=2))


@pytest.mark.filterwarnings("ignore")
def test_opake_computes_the_same():
    """Over the views too: it is given a loss that is their mean, where Opacus's ghost clipping has none."""
    module("opake", OPAKE)
    for problem in (TINY, DENSE, replace(DENSE, k=2)):
        expected = cases.clipped(problem, "reference", 3)()
        assert same(cases.opake(problem, 3)(), expected)
        step = cases.opake(problem, 1)
        step()
        assert same(step(), expected)


def test_a_library_that_is_not_installed_has_no_row(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "opake", None)
    monkeypatch.setitem(sys.modules, "opake.dpsgd", None)
    monkeypatch.setitem(sys.modules, "opake.dpsgd.clipping", None)
    steps = bench.made({"ours": lambda: cases.clipped(TINY, "auto", 3), "Opake": lambda: cases.opake(TINY, 3)})
    assert list(steps) == ["ours"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("  no row for Opake: Opake is not installed (")
    assert line.endswith("); install it: pip install 'opake-dpsgd>=0.16.1,<0.17'")
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--memory", "Opake, n = 4"])
    with pytest.raises(DpmixError, match="Opake is not installed"):
        bench.main()


def test_the_non_private_step_is_the_mean():
    expected = cases.non_private(TINY, 6)()
    assert same(cases.non_private(TINY, 4)(), expected)
    channels_last = Problem(3, 2, depth=10, width=1, resolution=8, classes=4, memory_format=torch.channels_last)
    assert same(cases.non_private(channels_last, 6)(), expected)


def test_heads_compute_the_same():
    expected = cases.one_head_materialised(physical=6, **HEAD)()
    assert same(cases.heads(1, physical=4, **HEAD)(), expected)
    assert same(cases.one_head_materialised(physical=3, per_view=True, **HEAD)(), expected)
    assert cases.heads(3, physical=4, **HEAD)()["heads"].shape == (3, 5, 9)


def test_times_take_turns_after_warming_up(capsys):
    calls = []
    seconds = measure.times({name: lambda name=name: calls.append(name) for name in "ab"}, rounds=3)
    assert calls == list("abababab")
    assert [len(values) for values in seconds.values()] == [3, 3]
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 8


def test_warming_up_may_be_shorter():
    calls = []
    whole, short = ({name: lambda name=name: calls.append(name) for name in names} for names in ("AB", "ab"))
    measure.times(whole, 2, warm_up=short)
    assert calls == list("abABAB")


def test_ratios_are_within_rounds():
    # A machine that is ten times slower in the second round.
    assert measure.ratio([2.0, 20.0, 2.1], [1.0, 10.0, 1.0]) == 2.0
    seconds = {"ours": [1.0], "non-private, 1": [3.0, 1.0, 2.0], "non-private, 2": [1.5, 1.5, 9.0]}
    assert measure.fastest(seconds, "non-private") == "non-private, 2"


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    return tmp_path


def table(folder):
    (path,) = folder.iterdir()
    assert path.suffix == ".csv"
    assert "torch" in path.name
    return list(csv.DictReader(path.open()))


@pytest.mark.filterwarnings("ignore")
def test_the_whole_bench_in_miniature(results, monkeypatch, capsys):
    groups = [(1, dict.fromkeys(names, lambda: cases.clipped(TINY, "auto", 3))) for _, names in bench.GROUPS]
    monkeypatch.setattr(bench, "GROUPS", groups)
    monkeypatch.setattr(bench, "peak_memory", lambda name: 100.0 if name == bench.OPACUS else 40.0)
    line = bench.run()
    ratios = dict(part.split(" = ") for part in line.split("  "))
    assert list(ratios) == ["clipped/non-private", "opacus/clipped", "memory clipped/opacus", "heads32/one"]
    assert ratios["memory clipped/opacus"] == "0.40"
    rows = table(results)
    assert [row["case"] for row in rows] == [name for _, names in groups for name in names]
    assert all(float(row["seconds"]) >= 0 for row in rows)
    assert {row["peak_mib"] for row in rows} == {"", "40", "100"}
    out = capsys.readouterr().out
    assert all(row["case"] in out for row in rows)


def test_every_case_can_be_made():
    made = [
        make()
        for _, makers in bench.GROUPS
        for name, make in makers.items()
        if "Opacus" not in name and "Opake" not in name and "head" not in name and "jax" not in name
    ]
    assert len(made) > 5
    assert all(map(callable, made))


@pytest.mark.slow
def test_the_memory_of_a_case(repository):
    one, two = (
        float(
            subprocess.run(
                [sys.executable, "-m", "benchmarks", "--memory", name],
                capture_output=True, text=True, check=True, cwd=repository,
            ).stdout
        )
        for name in ("one head, closed form", "one head, materialised")
    )  # fmt: skip
    # 125 gradients of 257 x 513 numbers.
    assert two > 60
    assert one < two


def test_the_gpu_section_in_miniature(results, capsys):
    problem = Problem(2, 2, depth=10, width=1, resolution=8, precision="bfloat16")
    line = gpu.run(problem, (1, 2), rounds=2, product=64)
    assert line.startswith("clipped/non-private = ")
    rows = table(results)
    assert len(rows) == 8
    assert all(float(row["images_per_second"]) > 0 for row in rows)
    assert {row["case"] for row in rows} >= {"clipped, 2 examples, NHWC", "non-private, 4 images, NCHW"}
    # Two FLOPs a multiply-add, three passes, four images: 16 channels of 27 weights at 64 places come first.
    assert gpu.step_flops(problem) > 6 * 4 * 64 * 16 * 27
    assert "vectorized: " in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_other_libraries_beside_it_in_miniature(results):
    module("jax_privacy", JAX_PRIVACY)
    gpu.run_libraries(replace(TINY, device="cpu"), rounds=1)
    of = {row["case"]: row for row in table(results)}
    names = {
        "ours (auto)",
        "ours, ghost",
        "ours (engine: jax)",
        "vmap over views, mean over K",
        "Opacus hooks, mean over K",
    }
    assert set(of) - {"Opake"} == names  # which is not installed everywhere
    assert all(float(row["images_per_second"]) > 0 for row in of.values())
    assert of["ours (engine: jax)"]["peak_mib"] == ""  # torch does not see it


def test_the_stream_in_miniature(results, repository, monkeypatch):
    """The same experiment with a tiny tower: the encoder's calls are the test images, then K views of each example."""
    monkeypatch.chdir(repository)
    size = stream.Size(examples=6, batch=3, steps=2, test=5, physical=2, architecture="tiny-vit")
    made = stream.cases(size)
    assert made.calls == []
    made.warm_up[stream.STREAM]()
    short = sum(made.calls)
    made.steps[stream.STREAM]()
    assert 5 < short < sum(made.calls)  # one step of two
    line = stream.run(size, rounds=1)
    ratios = dict(part.split(" = ") for part in line.split("  "))
    assert list(ratios) == ["stream/encoder", "views/encoder speed", "10 epochs of Caltech256"]
    of = {row["case"]: row for row in table(results)}
    k = made.views
    assert k == 32
    assert int(of[stream.BARE]["images"]) == int(of[stream.STREAM]["images"]) == int(of[stream.VIEWS]["images"]) + 5
    assert int(of[stream.VIEWS]["images"]) % k == 0
    assert len({head.name for head in stream.heads(size)}) == 32
    assert stream.plan(stream.GPU, 1.0).steps == stream.GPU.steps  # which rounding must not cut short


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "2"], "--steps is for the stream: python -m benchmarks stream --steps N"),
        (["stream", "--steps", "0"], "'0' is not a whole number above 0"),
        (["--rounds", "many"], "'many' is not a whole number above 0"),
        (["nonsense"], "invalid choice: 'nonsense'"),
    ],
    ids=["steps of no stream", "no steps", "no number", "no part"],
)
def test_counts_that_make_no_sense(words, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", *words])
    with pytest.raises(SystemExit) as stopped:
        bench.main()
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert line.endswith("; python -m benchmarks --help says what there is")


def test_a_case_that_there_is_not_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--memory", "ours, sequental, n = 4"])
    with pytest.raises(DpmixError, match="no case is called 'ours, sequental, n = 4'; did you mean 'ours, sequential"):
        bench.main()


def test_the_company_of_an_image_is_measured():
    """On a processor in float32 there is rounding alone."""
    found = company.differences(torch.float32, "cpu", "tiny-vit", 12, (1, 5))
    assert list(found) == ["chunks of 1", "chunks of 5", "another order"]
    assert all(value < 1e-4 for value in found.values())


def test_what_an_encoder_gains_by_kept_memory_is_measured(monkeypatch, capsys):
    found = memory.measure(kept=False, size=2, batches=1, side=32)
    assert found["images"] == pytest.approx(2 / found["seconds"])
    way = iter([{"seconds": 2.0, "kernel": 1.0, "pages": 9, "images": 1}, {**found, "seconds": 1.0}] * 3)
    monkeypatch.setattr(memory, "in_a_process", lambda kept: next(way))
    memory.main(rounds=3)
    assert capsys.readouterr().out.endswith("as it is / freed memory kept: 2.00\n")


def test_the_check_of_a_digest_reads_the_whole_file(capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(digests.files, "file_digest", lambda path: asked.append(path.stat().st_size))
    found = digests.rates(3 * 2**20 + 5, rounds=2)
    assert asked == [3 * 2**20 + 5] * 2
    assert [len(each) for each in found.values()] == [2, 2]
    monkeypatch.setattr(digests, "rates", lambda size, rounds: {"read": [4e9, 2e9, 9e9], "check": [1e9, 1e9, 1e9]})
    digests.main(1)
    assert capsys.readouterr().out.splitlines() == [
        "read: 4,000 MB/s",
        "check: 1,000 MB/s",
        "check / read, in time: 4.00; a store of 20 GB takes 20 s",
    ]


def test_no_gpu_is_one_line(repository):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--gpu"],
        capture_output=True, text=True, check=False, cwd=repository,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] == "error: no GPU found; run without --gpu"


def archive(path):
    """Two classes that lie apart in one of 32 features, and are 1 / 4 as wide as that."""
    random = np.random.default_rng(0)
    made = {}
    for split, shape in (("train", (200, 1, 2)), ("test", (100,))):
        labels = np.arange(shape[0]) % 2
        values = random.normal(0, 0.1, (*shape, 32))
        values.T[0] += (0.8 * labels - 0.4) if split == "test" else np.stack([[0.8 * labels - 0.4]] * 2)
        made |= {split: values.astype(np.float16), f"{split}_labels": labels}
    np.savez(path, **made)
    return path


def test_the_learning_rate_s_study_in_miniature(tmp_path, monkeypatch, capsys):
    archive(tmp_path / "two-apart.npz")
    monkeypatch.setattr(learning_rate, "SEEDS", (1,))
    monkeypatch.setattr(learning_rate, "EPSILONS", (0.1, 8.0))
    words = ["learning_rate", str(tmp_path), "--sizes", "100", "200", "--out", str(tmp_path / "rates.csv")]
    monkeypatch.setattr(sys, "argv", words)
    learning_rate.main()
    with (tmp_path / "rates.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["N"], row["classes"], row["d"], row["K"]) for row in rows] == [
        (size, "2", "32", "2") for size in ("100", "100", "200", "200")
    ]
    small, large = rows[2:]
    assert float(large["best"]) > 95 > float(small["best"])
    assert float(small["rule_rate"]) < float(large["rule_rate"])
    for row in rows:
        assert float(row["difference"]) == pytest.approx(float(row["rule"]) - float(row["best"]), abs=0.02)
    assert "points on average" in capsys.readouterr().err


def test_features_are_of_the_views_asked_for():
    images = Images(np.arange(5 * 16, dtype=np.uint8).reshape(5, 1, 4, 4), np.zeros(5, dtype=np.int64), ("a",))
    as_pixels = Featurizer(lambda pixels: pixels.flatten(1))
    plain = features.views_of(images, as_pixels, ViewSettings(3, k_self=1), 2)
    assert plain.shape == (5, 2, 4, 16)
    np.testing.assert_allclose(plain[:, 1, 2] * 255, images.images.reshape(5, 16), rtol=1e-3, atol=0.05)
    moved = features.views_of(images, as_pixels, ViewSettings(3, transforms=("crop",), padding=1), 2)
    assert not np.array_equal(moved, plain[:, :, :3])
    assert not np.array_equal(moved[:, 0], moved[:, 1])
