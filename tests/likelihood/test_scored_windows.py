"""Windows of held-out text: what is given stays visible."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from masklab.errors import DataError
from masklab.likelihood.windows import Draws, ScoredWindows


@pytest.mark.parametrize("context", [0, 1, 5])
def test_windows_cover_the_validation_split_from_end_to_end(corpus: Any, context: int) -> None:
    windows = ScoredWindows.of(corpus, 32, 9, context)
    assert windows.tokens.shape == (9, context + 32)
    assert windows.tokens.dtype == corpus.vocabulary.dtype
    assert (len(windows), windows.block_size, windows.mask_id) == (9, 32, corpus.vocabulary.mask_id)
    np.testing.assert_array_equal(windows.tokens[0], corpus.validation[: context + 32])
    np.testing.assert_array_equal(windows.tokens[-1], corpus.validation[-(context + 32) :])


def test_only_scored_positions_can_be_masked() -> None:
    windows = ScoredWindows(np.arange(12, dtype=np.uint8).reshape(2, 6), 2, 99)
    chosen = np.array([[True, False, False, True], [False, True, False, False]])
    assert windows.masked(chosen).tolist() == [[0, 1, 99, 3, 4, 99], [6, 7, 8, 99, 10, 11]]
    assert windows.whole(chosen).tolist() == [[False, False, *chosen[0]], [False, False, *chosen[1]]]
    assert windows.masked(chosen).dtype == np.uint8


def test_each_estimator_has_random_numbers_of_its_own() -> None:
    windows = ScoredWindows(np.zeros((5, 4), np.uint8), 0, 1)
    keys = np.concatenate([windows.streams(seed, draws).keys for seed in (0, 1) for draws in Draws])
    assert len(np.unique(keys)) == 2 * len(Draws) * 5


def test_a_split_shorter_than_a_window_is_refused(corpus: Any) -> None:
    with pytest.raises(DataError, match="the validation split has"):
        ScoredWindows.of(corpus, len(corpus.validation), 4, context=1)
