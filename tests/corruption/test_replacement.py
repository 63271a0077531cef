"""What selected positions become."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mask_statistics import streams

from masklab.corruption.bernoulli import bernoulli
from masklab.corruption.masking import Replacement
from masklab.rng import RowStreams, Stream, root_key

VOCABULARY: Any = SimpleNamespace(size=50, mask_id=50)


def example(rows: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    tokens = np.random.default_rng(0).integers(0, 50, (rows, 100)).astype(dtype)
    return tokens, bernoulli(streams(rows).stream(Stream.MASK), 0.4, 100)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
@pytest.mark.parametrize("shares", [(1.0, 0.0, 0.0), (0.8, 0.1, 0.1), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.5, 0.0, 0.5)])
def test_shares_are_met_and_other_positions_stay(dtype: type, shares: tuple[float, float, float]) -> None:
    tokens, selected = example(1000, dtype)
    before = tokens.copy()
    mask, random, keep = shares
    inputs = Replacement(mask=mask, random=random, keep=keep).apply(tokens, selected, streams(1000), VOCABULARY)
    assert inputs.dtype == tokens.dtype
    assert (tokens == before).all()
    assert (inputs[~selected] == tokens[~selected]).all()
    assert inputs.max() <= VOCABULARY.mask_id
    assert (inputs[selected] == VOCABULARY.mask_id).mean() == pytest.approx(mask, abs=0.01)
    # a random character is the true one once in V
    assert (inputs[selected] == tokens[selected]).mean() == pytest.approx(keep + random / 50, abs=0.01)


def test_a_row_is_replaced_the_same_alone() -> None:
    tokens, selected = example(10, np.uint8)
    bert, root = Replacement(mask=0.8, random=0.1, keep=0.1), root_key(3)
    whole = bert.apply(tokens, selected, RowStreams.of(root, np.arange(10), 10), VOCABULARY)
    row = np.array([6])
    assert (bert.apply(tokens[row], selected[row], RowStreams.of(root, row, 10), VOCABULARY) == whole[row]).all()
