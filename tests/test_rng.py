"""Keyed random numbers: known answers, evenness, and independence across rows, counters and streams."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from masklab.rng import RowStreams, Stream, fold, keys_of, permutation, root_key, uniforms, word

LEAST_P_VALUE = 1e-4


def words(keys: np.ndarray, n: int) -> np.ndarray:
    """(B, n) uint64 words."""
    return np.array([[word(key, np.uint64(c)) for c in range(n)] for key in keys], np.uint64)


def test_words_are_the_published_outputs_of_splitmix64() -> None:
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert words(np.array([1234567], np.uint64), 5)[0].tolist() == expected


@pytest.mark.parametrize("seeds", [range(300), [2**k for k in range(63)], [-k for k in range(1, 200)]])
def test_bytes_of_neighbouring_seeds_and_counters_are_even(seeds: list[int]) -> None:
    keys = np.concatenate([root_key(seed) for seed in seeds])
    drawn = words(keys, 40)
    octets = drawn.view(np.uint8).reshape(len(keys), 40, 8)
    assert stats.chisquare(np.bincount(octets.ravel(), minlength=256)).pvalue > LEAST_P_VALUE
    for place in range(8):
        assert stats.chisquare(np.bincount(octets[..., place].ravel() >> 4, minlength=16)).pvalue > LEAST_P_VALUE


def test_bits_of_neighbouring_rows_counters_and_streams_are_independent() -> None:
    rows = RowStreams.of(root_key(1, 2, 3), np.arange(400), 400)
    mask, trim = words(rows.stream(Stream.MASK), 20), words(rows.stream(Stream.TRIM), 20)
    other_step = words(RowStreams.of(root_key(1, 2, 4), np.arange(400), 400).stream(Stream.MASK), 20)
    for a, b in [(mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1]), (mask, trim), (mask, other_step)]:
        differing = np.unpackbits((a ^ b).copy().view(np.uint8))
        z = (differing.mean() - 0.5) * 2 * differing.size**0.5
        assert abs(z) < 4
        by_place = np.unpackbits((a ^ b).copy().view(np.uint8)).reshape(-1, 64).mean(axis=0)
        assert np.abs((by_place - 0.5) * 2 * a.size**0.5).max() < 5


def test_one_changed_bit_of_a_seed_changes_half_of_the_key() -> None:
    changed = [int(root_key(s)[0] ^ root_key(s ^ (1 << bit))[0]).bit_count() for s in range(20) for bit in range(63)]
    assert np.mean(changed) == pytest.approx(32, abs=0.5)
    assert min(changed) > 8


def test_uniforms_are_even_and_pairs_fill_the_square() -> None:
    u = uniforms(keys_of(root_key(5), np.arange(4000)), 10)
    assert u.min() >= 0
    assert u.max() < 1
    assert stats.kstest(u.ravel(), "uniform").pvalue > LEAST_P_VALUE
    for a, b in [(u[:, 0], u[:, 1]), (u[:-1, 0], u[1:, 0])]:
        cells = np.bincount((a * 8).astype(int) * 8 + (b * 8).astype(int), minlength=64)
        assert stats.chisquare(cells).pvalue > LEAST_P_VALUE


def test_keys_depend_on_every_part_and_on_their_order() -> None:
    keys = {int(root_key(*parts)[0]) for parts in [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (-1,), (2**64 - 2,)]}
    assert len(keys) == 8
    members = keys_of(root_key(9), np.array([4, 2]))
    assert members[0] == fold(root_key(9), 4)[0]
    assert members[1] == fold(root_key(9), 2)[0]


def test_permutations_are_equally_likely() -> None:
    orders = {order: i for i, order in enumerate(permutations(range(4)))}
    drawn = [orders[tuple(permutation(root_key(seed), 4).tolist())] for seed in range(6000)]
    assert stats.chisquare(np.bincount(drawn, minlength=24)).pvalue > LEAST_P_VALUE


@pytest.mark.parametrize("total", [1, 2, 7, 64])
def test_stratified_values_cover_each_stratum_once_and_parts_agree(total: int) -> None:
    whole = RowStreams.of(root_key(total), np.arange(total), total).stratified(Stream.LEVEL)
    assert sorted(np.floor(whole * total).astype(int)) == list(range(total))
    back = np.arange(total)[::-1]
    assert (RowStreams.of(root_key(total), back, total).stratified(Stream.LEVEL) == whole[back]).all()


def test_one_row_of_stratified_values_is_uniform_over_batches() -> None:
    values = [RowStreams.of(root_key(0, step), np.array([3]), 8).stratified(Stream.LEVEL)[0] for step in range(3000)]
    assert stats.kstest(values, "uniform").pvalue > LEAST_P_VALUE
