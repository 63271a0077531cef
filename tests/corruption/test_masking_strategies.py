"""What holds for every masking strategy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_statistics import streams
from pydantic import TypeAdapter, ValidationError

from masklab.corruption.masking import Masking
from masklab.corruption.masking_strategy import MaskingStrategy
from masklab.rng import RowStreams, root_key

STRATEGIES = {
    "random": {"type": "random", "min_ratio": 0.1, "max_ratio": 0.7},
    "random from zero": {"type": "random", "max_ratio": 0.3},
    "random never": {"type": "random", "max_ratio": 0.0},
    "random always": {"type": "random", "min_ratio": 1.0, "max_ratio": 1.0},
    "sticky": {"type": "sticky", "mask_ratio": 0.4, "p_start": 0.2, "p_extend": 0.8},
    "sticky scattered": {"type": "sticky", "mask_ratio": 0.2, "p_start": 0.3, "p_extend": 0.0},
    "sticky edges": {"type": "sticky", "mask_ratio": 0.6, "p_start": 0.1, "p_extend": 0.9, "trim": "edges"},
    "span": {"type": "span", "spans_count": 3},
    "one span": {"type": "span", "spans_count": 1},
    "run_length": {"type": "run_length", "mask_ratio": 0.4, "mean_run": 5.0},
    "run_length never": {"type": "run_length", "mask_ratio": 0.0, "mean_run": 1.0},
    "exact_count": {"type": "exact_count"},
    "diffusion linear": {"type": "diffusion"},
    "diffusion cosine": {"type": "diffusion", "schedule": "cosine"},
    "diffusion in steps": {"type": "diffusion", "schedule": "cosine", "timesteps": 7},
    "diffusion polynomial": {"type": "diffusion", "schedule": {"type": "polynomial", "power": 20.0}},
    "diffusion loglinear": {"type": "diffusion", "schedule": "loglinear"},
    "diffusion geometric": {"type": "diffusion", "schedule": "geometric"},
    "diffusion Beta": {"type": "diffusion", "beta": [2.0, 2.0]},
    "diffusion Beta in steps": {"type": "diffusion", "beta": [3.0, 0.5], "restore_elbo": False, "timesteps": 50},
}
every_strategy = pytest.mark.parametrize("name", STRATEGIES)


def masking(name: str) -> Masking:
    strategy: Masking = TypeAdapter(MaskingStrategy).validate_python(STRATEGIES[name])
    return strategy


@every_strategy
@settings(deadline=None, max_examples=15)
@given(block_size=st.integers(1, 300), rows=st.integers(1, 9), seed=st.integers(-(2**63), 2**64))
def test_draw_has_its_shapes_and_safe_values(name: str, block_size: int, rows: int, seed: int) -> None:
    draw = masking(name).draw(streams(rows, seed), block_size)
    assert draw.selected.shape == (rows, block_size)
    assert draw.selected.dtype == np.bool_
    assert set(np.unique(draw.selected.view(np.uint8))) <= {0, 1}
    assert draw.selected.flags.c_contiguous
    for figure in (draw.probability, draw.elbo_weight):
        assert figure.shape == (rows,)
        assert figure.dtype == np.float32
        assert np.isfinite(figure).all()
        assert (figure >= 0).all()
    assert (draw.probability <= 1).all()
    assert not draw.selected[draw.probability == 0].any()
    assert (draw.elbo_weight[draw.probability == 0] == 0).all()


@every_strategy
@pytest.mark.parametrize("block_size", [1, 64, 65, 200])
def test_a_row_is_the_same_alone_in_any_order_and_in_a_batch(name: str, block_size: int) -> None:
    strategy, root, total = masking(name), root_key(7), 24
    whole = strategy.draw(RowStreams.of(root, np.arange(total), total), block_size)
    again = strategy.draw(RowStreams.of(root, np.arange(total), total), block_size)
    assert (whole.selected == again.selected).all()
    some = np.array([17, 3, 3, 20, 0])
    part = strategy.draw(RowStreams.of(root, some, total), block_size)
    assert (part.selected == whole.selected[some]).all()
    assert (part.probability == whole.probability[some]).all()
    assert (part.elbo_weight == whole.elbo_weight[some]).all()
    for row in (0, 11, 23):
        alone = strategy.draw(RowStreams.of(root, np.array([row]), total), block_size)
        assert (alone.selected[0] == whole.selected[row]).all()


@every_strategy
@pytest.mark.parametrize("block_size", [1, 2, 64, 65, 130])
def test_expected_ratio_is_the_empirical_mean(name: str, block_size: int) -> None:
    strategy, rows = masking(name), 6000
    draw = strategy.draw(streams(rows), block_size)
    of_row = draw.selected.mean(axis=1)
    # stratified levels scatter less than this; the bound stands for the worst case
    tolerance = 4 * max(of_row.std(), 1e-9) / rows**0.5 + 1e-6
    assert of_row.mean() == pytest.approx(strategy.expected_ratio(block_size), abs=tolerance)
    assert draw.probability.mean() == pytest.approx(strategy.expected_ratio(block_size), abs=tolerance + 0.01)


@every_strategy
def test_ratio_range_holds_the_probabilities_and_the_mean(name: str) -> None:
    strategy = masking(name)
    low, high = strategy.ratio_range(96)
    draw = strategy.draw(streams(500), 96)
    assert 0 <= low <= strategy.expected_ratio(96) <= high <= 1
    outside = (draw.probability < low - 1e-6) | (draw.probability > high + 1e-6)
    # the range of a Beta leaves out a thousandth at either end, which is half a stratum here
    assert outside.sum() <= (2 if "Beta" in name else 0)


@pytest.mark.parametrize("name", [name for name in STRATEGIES if not name.endswith(("never", "always"))])
def test_different_batches_have_different_masks(name: str) -> None:
    strategy = masking(name)
    assert (strategy.draw(streams(8, 1), 128).selected != strategy.draw(streams(8, 2), 128).selected).any()


@every_strategy
def test_description_is_short_and_a_dump_reads_back(name: str) -> None:
    strategy = masking(name)
    assert 3 < len(strategy.describe()) < 60
    assert TypeAdapter(MaskingStrategy).validate_python(strategy.model_dump()) == strategy


@pytest.mark.parametrize("name", ["random", "sticky", "run_length", "exact_count", "span"])
def test_elbo_weight_is_one_over_the_probability(name: str) -> None:
    draw = masking(name).draw(streams(50), 90)
    np.testing.assert_allclose(draw.elbo_weight, 1 / draw.probability, rtol=1e-6)


def test_random_ratios_fill_their_range_and_positions_follow_them() -> None:
    draw = masking("random").draw(streams(4000), 512)
    assert draw.probability.min() == pytest.approx(0.1, abs=0.002)
    assert draw.probability.max() == pytest.approx(0.7, abs=0.002)
    spread = np.sqrt(draw.probability * (1 - draw.probability) / 512)
    assert np.abs((draw.selected.mean(axis=1) - draw.probability) / spread).max() < 5
    assert draw.selected.mean(axis=0).std() < 2 * 0.5 / 4000**0.5


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"type": "random", "max_ratio": 1.5}, "max_ratio\n.*a probability lies between 0 and 1, and 1.5 does not"),
        ({"type": "random", "min_ratio": 0.5, "max_ratio": 0.3}, "min_ratio 0.5 is above max_ratio 0.3"),
        ({"type": "run_length", "mask_ratio": 0.9, "mean_run": 3.0}, "lower mask_ratio to 0.75 at most, or raise mean_run"),
        ({"type": "run_length", "mask_ratio": 0.3, "mean_run": 0.5}, "mean_run"),
        ({"type": "span", "spans_count": 0}, "spans_count"),
        ({"type": "diffusion", "timesteps": 0}, "timesteps"),
        ({"type": "diffusion", "schedule": "cubic"}, "schedule"),
        ({"type": "exact_count", "mask_ratio": 0.4}, "mask_ratio"),
        ({"type": "stripes"}, "'stripes'"),
        ({"type": "exact_count", "replacement": {"mask": 0.8, "random": 0.1}}, "make 0.9; the shares must add up to 1"),
        ({"type": "exact_count", "replacement": {"mask": 1.8, "random": -0.8}}, "a probability lies between 0 and 1, and 1.8 does not"),
    ],
)
def test_a_wrong_value_is_refused_by_name(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TypeAdapter(MaskingStrategy).validate_python(values)
