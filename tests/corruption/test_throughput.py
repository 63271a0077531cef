"""The table of rates has a row for each strategy beside its baseline; the rates themselves are the machine's."""

from __future__ import annotations

from masklab.corruption.throughput import BASELINE, STRATEGIES, measure


def test_every_strategy_is_measured_beside_the_baseline() -> None:
    rows = measure(block_size=65, batch_size=4, rounds=2, calls=2)
    assert rows[0].name == BASELINE
    assert rows[0].relative == 1.0
    assert len({row.name for row in rows}) == len(STRATEGIES) + 1
    for row in rows:
        assert row.positions_per_second > 0
        assert round(row.positions_per_second / row.masks_per_second) == 65
