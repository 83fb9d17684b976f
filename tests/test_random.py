import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dpmix.random import KeyedRandom, generator, key_of, philox, torch_generator

IDENTITIES = np.arange(20_000)


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        # Random123's known answers for philox4x32-10.
        ([0] * 4, (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([2**32 - 1] * 4, (2**32 - 1, 2**32 - 1), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            (0xA4093822, 0x299F31D0),
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_known_answers(counter, key, words):
    assert philox(np.array(counter, dtype=np.uint64), key).tolist() == words
    rows = np.tile(np.array(counter, dtype=np.uint64), (3, 2, 1))
    assert (philox(rows, key) == np.array(words, dtype=np.uint64)).all()


@pytest.mark.parametrize(
    ("draw", "distribution"),
    [
        (lambda random: random.uniform("u"), stats.uniform()),
        (lambda random: random.uniform("u", 7)[:, 5], stats.uniform()),
        (lambda random: random.normal("n"), stats.norm()),
        (lambda random: random.normal("n", 2, 3)[:, 1, 2], stats.norm()),
        (lambda random: random.beta("b", 0.2), stats.beta(0.2, 0.2)),
        (lambda random: random.beta("b", 0.2, 3)[:, 2], stats.beta(0.2, 0.2)),
        (lambda random: random.beta("b", 1.0), stats.beta(1, 1)),
        (lambda random: random.beta("b", 0.7), stats.beta(0.7, 0.7)),
    ],
)
@pytest.mark.parametrize(("seed", "step"), [(0, 0), (2**32 - 1, 12345)])
def test_distributions(draw, distribution, seed, step):
    drawn = draw(KeyedRandom(seed, step, IDENTITIES))
    assert stats.kstest(drawn, distribution.cdf).pvalue > 1e-5


def test_uniform_has_neither_end_and_many_digits():
    drawn = KeyedRandom(1, 2, np.arange(1000)).uniform("u", 200)
    assert drawn.min() > 0
    assert drawn.max() < 1
    assert len(np.unique(drawn)) == drawn.size


@pytest.mark.parametrize("high", [1, 2, 3, 10, 100])
def test_integers_are_uniform(high):
    drawn = KeyedRandom(3, 4, IDENTITIES).integers("i", high, 2)
    assert drawn.dtype == np.int64
    counts = np.bincount(drawn.ravel(), minlength=high)
    assert len(counts) == high
    assert high == 1 or stats.chisquare(counts).pvalue > 1e-5


def test_every_part_of_the_key_counts():
    ids = np.arange(5000)
    reference = KeyedRandom(1, 1, ids).normal("a", 2)
    others = [
        KeyedRandom(2, 1, ids).normal("a", 2),
        KeyedRandom(1, 2, ids).normal("a", 2),
        KeyedRandom(1, 1, ids + 5000).normal("a", 2),
        KeyedRandom(1, 1, ids + 2**32).normal("a", 2),
        KeyedRandom(1, 1, ids).normal("b", 2),
        np.roll(reference, 1, axis=0),
        reference[:, ::-1],
    ]
    for other in others:
        assert not (other == reference).any()
        assert abs(np.corrcoef(reference.ravel(), other.ravel())[0, 1]) < 0.06


@given(
    st.lists(st.integers(0, 2**40), min_size=1, max_size=8, unique=True),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.data(),
)
def test_a_draw_depends_on_its_own_key_alone(ids, seed, step, data):
    chosen = data.draw(st.lists(st.integers(0, len(ids) - 1), max_size=8))
    whole, part = KeyedRandom(seed, step, ids), KeyedRandom(seed, step, [ids[index] for index in chosen])
    for draw in (
        lambda random: random.uniform("x", 3),
        lambda random: random.integers("x", 9, 2, 2),
        lambda random: random.normal("x"),
        lambda random: random.beta("x", 0.2, 3),
    ):
        assert np.array_equal(draw(whole)[chosen], draw(part))
        assert np.array_equal(draw(whole), draw(whole))


def test_beta_is_kept_when_another_example_needs_more_attempts():
    # At alpha = 1 half of the attempts are rejected, so examples finish at different attempts.
    whole = KeyedRandom(0, 0, np.arange(200)).beta("b", 1.0, 4)
    for index in range(0, 200, 17):
        assert np.array_equal(KeyedRandom(0, 0, [index]).beta("b", 1.0, 4)[0], whole[index])
    # A shape's first entry does not depend on how many more there are.
    assert np.array_equal(KeyedRandom(0, 0, np.arange(200)).beta("b", 1.0, 1)[:, 0], whole[:, 0])


@pytest.mark.parametrize("shape", [(), (3,), (0,), (2, 0), (2, 3)])
@pytest.mark.parametrize("examples", [[], [4], [4, 9]])
def test_shapes_and_empties(shape, examples):
    random = KeyedRandom(0, 0, examples)
    for drawn in (
        random.words("x", *shape),
        random.uniform("x", *shape),
        random.integers("x", 5, *shape),
        random.normal("x", *shape),
        random.beta("x", 0.2, *shape),
    ):
        assert drawn.shape == (len(examples), *shape)


@pytest.mark.parametrize("alpha", [0, -1, 1.01, float("nan")])
def test_alpha_out_of_range(alpha):
    with pytest.raises(ValueError, match="alpha must be in"):
        KeyedRandom(0, 0, [1]).beta("x", alpha)


@pytest.mark.parametrize(("seed", "step"), [(2**32, 0), (-1, 0), (0, 2**32), (0, -1)])
def test_a_seed_or_step_that_would_be_anothers(seed, step):
    with pytest.raises(ValueError, match=r"is not in \[0, 2\*\*32\); choose a whole number from there"):
        KeyedRandom(seed, step, [1])


def test_generators():
    def drawn(*key):
        return generator(*key).random(4).tolist()

    assert drawn(1, "noise", 0) == drawn(1, "noise", 0)
    keys = [(1, "noise", 0), (2, "noise", 0), (1, "noise", 1), (1, "noise", "1"), (1, "other", 0), (1,)]
    assert len({tuple(drawn(*key)) for key in keys}) == len(keys)


def test_no_global_state_is_read_or_left():
    import torch

    before = (torch.get_rng_state(), np.random.get_state()[1].copy())  # noqa: NPY002
    first = KeyedRandom(0, 0, [1]).normal("x", 3)
    generator(1, "x").random()
    torch.rand(1, generator=torch_generator(1, "x"))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    torch.manual_seed(5)
    assert np.array_equal(KeyedRandom(0, 0, [1]).normal("x", 3), first)


def test_no_two_keys_of_a_long_run_are_equal():
    """WRN-16-4 for 2441 steps: with keys of 32 bits some ten pairs of (step, parameter) shared their noise."""
    from dpmix.models.networks import build_network
    from dpmix.params.models import WideResNetSpec

    spec = WideResNetSpec(kind="wide-resnet", name="wrn", label="WRN-16-4", depth=16, width=4, groups=16, resolution=32)
    names = [name for name, _ in build_network(spec, 3, 10, seed=0).named_parameters()]
    for bits in (64, 128):
        keys = {key_of(bits, 1, "noise", step, name) for step in range(2441) for name in names}
        assert len(keys) == 2441 * len(names)
    # The pair that did share it.
    first = generator(1, "noise", 455, "blocks.2.conv1.bias").standard_normal(8)
    second = generator(1, "noise", 1074, "blocks.2.shortcut.bias").standard_normal(8)
    assert not (first == second).any()


def test_keys_have_all_their_bits():
    keys = [key_of(128, 0, "x", index) for index in range(2000)]
    for bit in range(128):
        ones = sum(key >> bit & 1 for key in keys)
        assert abs(ones - 1000) < 6 * 500**0.5
    assert max(keys) < 2**128


def test_streams_have_keys_of_64_bits():
    """Two streams whose names have the same CRC-32 draw different numbers."""
    import zlib

    assert zlib.crc32(b"plumless") == zlib.crc32(b"buckeroo")
    random = KeyedRandom(0, 0, np.arange(100))
    assert not (random.uniform("plumless") == random.uniform("buckeroo")).any()


def test_a_step_is_one_key_whatever_type_it_has() -> None:
    """Before, the first caller's type decided which key the others got."""
    key_of.cache_clear()
    plain = key_of(64, 1, "noise", 3)
    key_of.cache_clear()
    assert key_of(64, 1, "noise", np.int64(3)) == plain != key_of(64, 1, "noise", np.int64(4))
