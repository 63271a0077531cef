"""What each stage teaches, by hand."""

from __future__ import annotations

import numpy as np

from masklab.comparison.stage_matrix import Dwell, PoolLosses, stage_matrix

RUN = [
    PoolLosses(10, 1_000, 0, (3.0, 4.0)),
    PoolLosses(20, 2_000, 0, (2.0, 3.5)),
    PoolLosses(30, 3_000, 1, (2.2, 3.0)),
    PoolLosses(40, 4_000, 1, (2.5, None)),
    PoolLosses(50, 5_000, 1, (2.4, 2.0)),
]


def test_a_stage_is_measured_from_the_last_evaluation_before_it() -> None:
    found = stage_matrix(RUN, 3)
    np.testing.assert_allclose(found.change, [[-1.0, -0.5], [0.4, -1.5], [np.nan, np.nan]])
    assert found.dwell == (Dwell(20, 2_000, 2), Dwell(30, 3_000, 3), Dwell(0, 0, 0))


def test_a_loss_that_is_missing_at_an_end_leaves_a_gap() -> None:
    np.testing.assert_allclose(stage_matrix(RUN[:4], 2).change[1], [0.5, np.nan])


def test_a_first_stage_of_one_evaluation_has_no_beginning() -> None:
    found = stage_matrix([RUN[0], RUN[2]], 2)
    np.testing.assert_allclose(found.change, [[np.nan, np.nan], [-0.8, -1.0]])
    assert found.dwell[0] == Dwell(10, 1_000, 1)


def test_a_later_start_of_the_record_counts_from_nothing() -> None:
    assert stage_matrix(RUN[2:], 2).dwell == (Dwell(0, 0, 0), Dwell(50, 5_000, 3))
