"""From logits to characters: the draw, the truncations and the penalty against literal versions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from masklab.sampling.decoding import Decoding, log_softmax

GRID = (np.arange(1000) + 0.5) / 1000


def shares(probability: list[float], **keys: float) -> np.ndarray:
    """How often each character is drawn, out of a thousand evenly spaced uniforms."""
    with np.errstate(divide="ignore"):
        logits = np.tile(np.log(probability), (1000, 1))
    return np.bincount(Decoding(**keys).draw(logits, GRID), minlength=len(probability)) / 1000  # type: ignore[arg-type]


def test_characters_are_drawn_by_their_probabilities() -> None:
    assert shares([0.5, 0.0, 0.3, 0.2]).tolist() == [0.5, 0, 0.3, 0.2]


@pytest.mark.parametrize("temperature", [0.3, 0.5, 2.0])
def test_temperature_raises_probabilities_to_its_inverse(temperature: float) -> None:
    p = np.array([0.5, 0.0, 0.3, 0.2])
    tempered = p ** (1 / temperature)
    np.testing.assert_allclose(shares(p.tolist(), temperature=temperature), tempered / tempered.sum(), atol=2e-3)


def test_temperature_zero_takes_the_most_probable() -> None:
    assert shares([0.3, 0.4, 0.3], temperature=0).tolist() == [0, 1, 0]


def test_top_k_keeps_the_k_most_probable() -> None:
    np.testing.assert_allclose(shares([0.1, 0.4, 0.2, 0.3], top_k=2), [0, 4 / 7, 0, 3 / 7], atol=1e-3)
    assert shares([0.1, 0.4, 0.2, 0.3], top_k=4).tolist() == shares([0.1, 0.4, 0.2, 0.3]).tolist()
    assert shares([0.1, 0.4, 0.2, 0.3], top_k=1).tolist() == [0, 1, 0, 0]


def test_top_p_keeps_the_fewest_that_make_up_p() -> None:
    np.testing.assert_allclose(shares([0.1, 0.4, 0.2, 0.3], top_p=0.6), [0, 4 / 7, 0, 3 / 7], atol=1e-3)
    np.testing.assert_allclose(shares([0.1, 0.4, 0.2, 0.3], top_p=0.75), [0, 4 / 9, 2 / 9, 3 / 9], atol=1e-3)
    assert shares([0.1, 0.4, 0.2, 0.3], top_p=1e-9).tolist() == [0, 1, 0, 0], "the most probable always stays"


def test_top_p_counts_what_temperature_and_top_k_have_left() -> None:
    np.testing.assert_allclose(shares([0.1, 0.4, 0.2, 0.3], top_k=3, top_p=0.5), [0, 4 / 7, 0, 3 / 7], atol=1e-3)


def literal_nucleus(p: np.ndarray, top_k: int, top_p: float) -> np.ndarray:
    """Walk down from the most probable character, as the papers say it."""
    order = sorted(range(len(p)), key=lambda v: (-p[v], v))[:top_k]
    total, kept = sum(p[v] for v in order), {}
    for v in order:
        kept[v] = p[v]
        if sum(kept.values()) >= top_p * total:
            break
    return np.array([kept.get(v, 0.0) for v in range(len(p))]) / sum(kept.values())


@given(
    arrays(np.float64, (6,), elements=st.integers(-4000, 4000).map(lambda n: n / 1000)),
    st.integers(1, 6),
    st.floats(0.05, 0.95),
)
def test_truncation_is_the_literal_one(logits: np.ndarray, top_k: int, top_p: float) -> None:
    p = np.exp(logits) / np.exp(logits).sum()
    expected = literal_nucleus(p, top_k, top_p)
    got = shares(p.tolist(), top_k=top_k, top_p=top_p)
    edge = np.isclose(np.cumsum(sorted(p, reverse=True)[:top_k]) / np.sum(sorted(p, reverse=True)[:top_k]), top_p, atol=1e-9).any()
    if not edge:
        np.testing.assert_allclose(got, expected, atol=2e-3)


def test_an_impossible_character_is_never_drawn_at_the_ends() -> None:
    logits = np.array([[-np.inf, 0.0, -np.inf]] * 2)
    assert Decoding().draw(logits, np.array([0.0, 1 - 2**-53])).tolist() == [1, 1]


def test_log_softmax_sums_to_one_for_extreme_logits() -> None:
    log = log_softmax(np.array([[1e4, 1e4 - 1, -1e4], [-np.inf, 0.0, 0.0]]))
    np.testing.assert_allclose(np.exp(log).sum(axis=1), 1, rtol=1e-14)


def test_nearby_characters_are_those_within_the_window() -> None:
    tokens = np.array([[0, 4, 4, 1, 4, 2, 3]])  # V = 4, and 4 is the mask
    at = np.array([[False, True, False, False, True, False, False]])
    near = Decoding(repetition_penalty=2, repetition_window=2).nearby(tokens, at, 4)
    assert near is not None
    assert near.tolist() == [[True, True, False, False], [False, True, True, True]]
    assert Decoding(repetition_window=2).nearby(tokens, at, 4) is None


def test_the_penalty_raises_nearby_probabilities_to_its_power() -> None:
    p = np.array([0.5, 0.3, 0.2])
    near = np.tile([True, False, False], (1000, 1))
    drawn = Decoding(repetition_penalty=2).draw(np.tile(np.log(p) + 5, (1000, 1)), GRID, near)
    expected = np.array([0.25, 0.3, 0.2]) / 0.75
    np.testing.assert_allclose(np.bincount(drawn) / 1000, expected, atol=2e-3)


@pytest.mark.parametrize("keys", [{"temperature": -0.1}, {"top_k": 0}, {"top_p": 0}, {"top_p": 1.1}, {"repetition_penalty": 0}])
def test_settings_out_of_range_are_refused(keys: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(keys))):
        Decoding.model_validate(keys)
