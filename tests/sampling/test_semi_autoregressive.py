"""Block by block: what the network sees for each, what it may write, and that one block is the inner sampler itself."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from one_row import network_probabilities
from pydantic import ValidationError
from reverse import LETTERS, network, run_sampler, settings_of

from masklab.errors import ConfigError
from masklab.sampling.autoregressive import Autoregressive
from masklab.sampling.canvas import Canvas
from masklab.sampling.denoiser import Denoiser
from masklab.sampling.generation import generate
from masklab.sampling.semi_autoregressive import INNER, SemiAutoregressive, window_of
from masklab.sampling.settings import SamplingStrategy
from masklab.sampling.trace import Snapshot

MASK = LETTERS.mask_id
every_inner = pytest.mark.parametrize("inner", INNER)
BLOCK_SIZE = 16


def semi(**keys: Any) -> dict[str, Any]:
    return {"strategy": "semi_autoregressive", "block_length": 6, "num_samples": 3} | keys


def steps_of(inner: str, name: str, steps: int) -> dict[str, int]:
    return {name: steps} if "steps" in INNER[inner].model_fields else {}


def spied(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[np.ndarray, list[float]]]:
    """What the network is given in each call: tokens (R, W) and noise levels (R,)."""
    calls, hidden = [], model.hidden

    def spy(tokens, noise_level, positions):  # type: ignore[no-untyped-def]
        calls.append((tokens.numpy().copy(), noise_level.tolist()))
        return hidden(tokens, noise_level, positions)

    monkeypatch.setattr(model, "hidden", spy)
    return calls


def prompt_of(length: int, given: dict[int, int]) -> np.ndarray:
    """A text of `length`, masked but for the `given` characters."""
    start = np.full(length, MASK)
    start[list(given)] = list(given.values())
    return start


def test_any_other_sampler_can_be_the_inner_one() -> None:
    samplers = set(get_args(get_args(SamplingStrategy)[0])) - {SemiAutoregressive, Autoregressive}
    assert set(INNER.values()) == samplers
    assert all(sampler.model_fields["strategy"].default == name for name, sampler in INNER.items())
    assert get_args(SemiAutoregressive.model_fields["inner"].annotation) == tuple(INNER)


@every_inner
@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("block_length", [12, 16])
def test_one_block_is_the_inner_sampler_itself(inner: str, conditioned: bool, block_length: int) -> None:
    model, start = network(time_conditioning=conditioned), prompt_of(12, {0: 3, 5: 1, 6: 2})
    plain = run_sampler(model, start, MASK, settings_of(strategy=inner, num_samples=3, **steps_of(inner, "steps", 7)), block_size=16)
    keys = semi(inner=inner, block_length=block_length, **steps_of(inner, "block_steps", 7))
    blocks = run_sampler(model, start, MASK, settings_of(**keys), block_size=16)
    for name in ("tokens", "placed_at", "confidence", "evaluations", "written"):
        assert np.array_equal(getattr(plain, name), getattr(blocks, name)), name


def literal(model: Any, start: np.ndarray, block_length: int, block_size: int) -> list[int]:
    """The most probable character at the most certain position of the block, one at a time, no character being given behind a block."""
    text = start.tolist()
    for first in range(0, len(text), block_length):
        block = range(first, min(len(text), first + block_length))
        begin = max(0, block.stop - block_size)
        while masked := [i for i in block if text[i] == MASK]:
            probabilities = network_probabilities(model, text[begin : begin + block_size], MASK)
            certain = {i: max(probabilities[i - begin]) for i in masked}
            best = max(masked, key=lambda i: (round(np.log(certain[i]), 4), -i))
            text[best] = probabilities[best - begin].index(certain[best])
    return text


@pytest.mark.parametrize("length", [5, 12, 16, 17, 50])
@pytest.mark.parametrize("block_length", [1, 6, 16])
def test_every_block_is_the_literal_one(length: int, block_length: int) -> None:
    model, start = network().double(), prompt_of(length, {0: 3, 2: 1})
    settings = settings_of(**semi(block_length=block_length, block_steps=16, num_samples=1, temperature=0))
    got = run_sampler(model, start, MASK, settings, block_size=BLOCK_SIZE)
    assert got.tokens[0].tolist() == literal(model, start, block_length, BLOCK_SIZE)


@every_inner
def test_a_text_of_several_block_sizes_is_written_from_what_precedes(inner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, start = network(), prompt_of(53, {0: 3, 1: 4})
    calls = spied(model, monkeypatch)
    seen: list[Snapshot] = []
    settings = settings_of(**semi(inner=inner, **steps_of(inner, "block_steps", 3)))
    got = run_sampler(model, start, MASK, settings, block_size=BLOCK_SIZE, watch=seen.append)
    assert {tokens.shape[1] for tokens, _ in calls} == {BLOCK_SIZE}
    assert got.evaluations.sum() == sum(len(tokens) for tokens, _ in calls)
    for before, after in pairwise(seen):
        changed = np.flatnonzero((before.tokens != after.tokens).any(axis=0))
        assert len(set(changed // 6)) <= 1, "one block at a time"
    last = [got.placed_at[:, i : i + 6].max() for i in range(0, 53, 6)]
    first = [got.placed_at[:, max(i, 2) : i + 6].min() for i in range(0, 53, 6)]
    assert all(done < begun for done, begun in zip(last, first[1:], strict=False))
    assert got.written.sum(axis=0).min() >= 51
    assert np.array_equal(got.tokens[:, :2], np.tile([3, 4], (3, 1)))


@every_inner
def test_given_characters_and_earlier_blocks_never_change(inner: str) -> None:
    start, seen = prompt_of(40, {7: 1, 8: 2, 20: 3, 39: 4}), []
    settings = settings_of(**semi(inner=inner, **steps_of(inner, "block_steps", 5)))
    got = run_sampler(network(), start, MASK, settings, block_size=BLOCK_SIZE, watch=lambda s: seen.append(s.tokens))
    for tokens in seen:
        assert np.array_equal(tokens[:, [7, 8, 20, 39]], np.tile([1, 2, 3, 4], (3, 1)))
        begun = np.flatnonzero((tokens != MASK).any(axis=0) & (start == MASK))
        done = begun[-1] // 6 * 6 if len(begun) else 0
        assert np.array_equal(tokens[:, :done], got.tokens[:, :done])


@every_inner
def test_each_text_is_as_it_would_be_alone_however_long_the_others_take(inner: str) -> None:
    model = network().double()
    # so certain of some characters that `threshold` writes several of them at once, and more for some texts than for others
    with torch.no_grad():
        model.final_norm.norm.weight.mul_(6)
    few, many = (generate(model, LETTERS, BLOCK_SIZE, settings_of(**semi(inner=inner, length=30, num_samples=n))) for n in (1, 4))
    assert np.array_equal(few.tokens, many.tokens[:1])
    assert np.array_equal(few.evaluations, many.evaluations[:1])


def test_blocks_have_random_numbers_of_their_own() -> None:
    start, settings = np.full(60, MASK), settings_of(**semi(inner="stochastic", block_length=10, num_samples=1))
    model = network()
    model.head = lambda hidden: 0 * hidden[..., :8]  # type: ignore[method-assign]
    blocks = run_sampler(model, start, MASK, settings, block_size=BLOCK_SIZE).tokens.reshape(6, 10)
    assert len(np.unique(blocks, axis=0)) == 6


def test_a_time_conditioned_network_is_told_how_much_of_the_window_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    for inner in ("stochastic", "first_hitting", "confidence", "remdm"):
        model = network(time_conditioning=True)
        calls = spied(model, monkeypatch)
        run_sampler(model, np.full(40, MASK), MASK, settings_of(**semi(inner=inner)), block_size=BLOCK_SIZE)
        for tokens, levels in calls:
            np.testing.assert_allclose(levels, (tokens == MASK).mean(axis=1), rtol=1e-6)


def test_a_suffix_is_seen_by_the_blocks_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    calls = spied(model, monkeypatch)
    run_sampler(model, prompt_of(50, {43: 1, 44: 2, 45: 3}), MASK, settings_of(**semi(num_samples=1)), block_size=BLOCK_SIZE)
    # one pass for each character: 36 for the blocks up to 36, and six for that from 36 to 42
    ends = [tokens[0, -3:].tolist() for tokens, _ in calls]
    assert [1, 2, 3] not in ends[:36]
    assert ends[36:42] == [[1, 2, 3]] * 6


def test_infilling_within_the_block_size_sees_the_whole_text(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    calls = spied(model, monkeypatch)
    start = prompt_of(14, {12: 5, 13: 6})
    run_sampler(model, start, MASK, settings_of(**semi(num_samples=2)), block_size=BLOCK_SIZE)
    assert all(tokens.shape[1] == 14 and (tokens[:, 12:] == [5, 6]).all() for tokens, _ in calls)


def test_what_is_remembered_of_a_text_is_not_taken_for_another_block_of_it() -> None:
    canvas = Canvas.of(np.full(12, MASK), np.zeros(12, bool), MASK, 0, 1)
    denoiser, rows, level = Denoiser(network(), 1), np.array([0]), np.ones(1)
    parts = [canvas.part(slice(*block), slice(0, 12)) for block in ((0, 4), (0, 4), (4, 12))]
    assert [len(denoiser.logits(part, rows, level)) for part in parts] == [4, 4, 8]
    assert denoiser.evaluations.tolist() == [2]


@given(
    T=st.integers(1, 60),
    block_size=st.integers(1, 30),
    data=st.data(),
)
def test_the_window_holds_the_block_and_what_precedes_it(T: int, block_size: int, data: st.DataObject) -> None:
    length = data.draw(st.integers(1, block_size))
    start = data.draw(st.integers(0, T - 1))
    block = slice(start, min(T, start + length))
    given_T = np.array(data.draw(st.lists(st.booleans(), min_size=T, max_size=T)))
    window = window_of(block, given_T, block_size)
    assert 0 <= window.start <= block.start < block.stop <= window.stop <= T
    assert window.stop - window.start == min(T, block_size)
    ahead = window.stop - block.stop
    if window.start > 0:
        assert ahead == 0 or given_T[window.stop - 1], "no context is given up but for a given character"
        assert ahead <= (block_size - (block.stop - block.start)) / 2
        assert not given_T[window.stop : block.stop + (block_size - (block.stop - block.start)) // 2].any()


@pytest.mark.parametrize("change", [{"block_length": 7}, {"inner": "entropy"}, {"inner": "remask"}, {"block_steps": 4}], ids=str)
def test_every_key_changes_the_texts(change: dict[str, Any]) -> None:
    def tokens(**keys: Any) -> list[list[int]]:
        settings = settings_of(**semi(block_steps=3) | keys)
        return run_sampler(network(), np.full(40, MASK), MASK, settings, block_size=BLOCK_SIZE).tokens.tolist()  # type: ignore[no-any-return]

    assert tokens(**change) != tokens()


def test_a_block_beyond_the_block_size_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"sampling\.block_length=17 is more than the model's block_size=16"):
        generate(network(), LETTERS, BLOCK_SIZE, settings_of(**semi(block_length=17, length=40)))


@pytest.mark.parametrize("inner", ["first_hitting", "threshold"])
def test_steps_for_a_sampler_that_has_none_are_refused(inner: str) -> None:
    with pytest.raises(ValidationError, match="block_steps=4 means nothing"):
        settings_of(**semi(inner=inner, block_steps=4))
