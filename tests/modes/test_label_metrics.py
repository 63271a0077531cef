"""What is told of predicted labels, against scikit-learn and loops written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklab.modes.label_memory import balanced_weights
from masklab.modes.metrics import class_counts, confusion, macro_f1, r_squared, rmse

metrics = pytest.importorskip("sklearn.metrics")
LABELS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=60)
NUMBERS = st.lists(st.tuples(*[st.floats(-1e3, 1e3).map(lambda x: round(x, 3))] * 2), min_size=2, max_size=40)


@settings(deadline=None)
@given(LABELS)
def test_the_confusion_matrix_counts_pairs_and_macro_f1_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    true, predicted = np.array(pairs).T
    counts = confusion(true, predicted, 6)
    for row in range(6):
        for column in range(6):
            assert counts[row, column] == sum(pair == (row, column) for pair in pairs)
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(true, predicted, labels=range(6)))
    expected = metrics.f1_score(true, predicted, average="macro", zero_division=0)
    assert macro_f1(counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1)) == pytest.approx(expected)
    assert macro_f1(*class_counts(true, predicted)) == pytest.approx(expected)


@settings(deadline=None)
@given(NUMBERS)
def test_rmse_and_r_squared_are_those_of_scikit_learn(pairs: list[tuple[float, float]]) -> None:
    true, predicted = np.array(pairs).T
    assert rmse(true, predicted) == pytest.approx(metrics.root_mean_squared_error(true, predicted))
    if len(set(true)) > 1:
        assert r_squared(true, predicted) == pytest.approx(metrics.r2_score(true, predicted))
    assert r_squared(np.ones(4), predicted[:1]) == 0.0


def test_numbers_of_32_bits_are_told_as_those_of_64_are() -> None:
    true, predicted = np.array([1e20, 2e20, 4e20], np.float32), np.array([2e20, 1e20, 4e20])
    assert r_squared(true, predicted) == pytest.approx(metrics.r2_score(true / 1e20, predicted / 1e20))
    assert rmse(true, predicted) == pytest.approx(1e20 * metrics.root_mean_squared_error(true / 1e20, predicted / 1e20))


@settings(deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=2, max_size=9))
def test_balanced_classes_count_alike_and_a_row_for_one_on_average(counts: list[int]) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    weights = balanced_weights(counts)
    totals = weights * counts
    np.testing.assert_allclose(totals, totals[0])
    assert totals.sum() == pytest.approx(sum(counts))
    labels = np.repeat(np.arange(len(counts)), counts)
    np.testing.assert_allclose(weights, compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels))
