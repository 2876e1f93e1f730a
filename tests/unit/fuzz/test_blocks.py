"""Mutations of plain bytes: they change what they say, and the same numbers change the same."""

from random import Random

import pytest
from fuzz.blocks import BLOCK_MUTATIONS, append_noise, blank, double_block, flip_bits, truncate

DATA = bytes(range(1, 256)) * 40


@pytest.mark.parametrize("mutation", dict.fromkeys(BLOCK_MUTATIONS), ids=lambda m: m.__name__)
def test_the_same_draws_give_the_same_bytes_and_others_give_others(mutation):
    results = [mutation(DATA, Random(seed)) for seed in range(6)]
    assert results == [mutation(DATA, Random(seed)) for seed in range(6)]
    assert len(set(results)) == 6
    assert all(result != DATA for result in results)


@pytest.mark.parametrize("mutation", dict.fromkeys(BLOCK_MUTATIONS), ids=lambda m: m.__name__)
@pytest.mark.parametrize("data", [b"", b"x"])
def test_almost_nothing_can_be_mutated_too(mutation, data):
    assert isinstance(mutation(data, Random(1)), bytes)


def test_bits_are_flipped_in_place():
    changed = flip_bits(DATA, Random(3))
    assert len(changed) == len(DATA)
    assert 1 <= sum(a != b for a, b in zip(changed, DATA, strict=True)) <= 8


def test_lengths_change_as_the_names_say():
    assert DATA.startswith(truncate(DATA, Random(2)))
    assert len(blank(DATA, Random(2))) == len(DATA)
    assert len(double_block(DATA, Random(2))) > len(DATA)
    assert append_noise(DATA, Random(2)).startswith(DATA)


def test_half_of_the_changes_hit_the_header():
    first = [len(truncate(bytes(1 << 16), Random(seed))) < 2048 for seed in range(200)]
    assert 80 < sum(first) < 140
