"""Batches are a pure function of their key: any part, in any order, is the same rows; the objective's weights are closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recipes import recipe

from masklab.corruption.masking import MaskDraw
from masklab.text.corpus import TokenCorpus
from masklab.training.data.batch import BatchKey
from masklab.training.data.validation_pools import ValidationPool
from masklab.training.loss import denominator, row_coefficients
from masklab.training.ranks import Ranks
from masklab.training.settings import ObjectiveSettings

KEY = BatchKey(1, 5)


@pytest.mark.parametrize("mixing", ["current", "cumulative", "all"])
@pytest.mark.parametrize("cut", [1, 2, 5])
def test_parts_of_a_batch_are_the_rows_of_the_whole(corpus: TokenCorpus, mixing: str, cut: int) -> None:
    maker = recipe(curriculum={"mixing": mixing}, training={"batch_size": 7}).batch_maker(corpus)
    whole, first, last = maker.make(KEY), maker.make(KEY, 0, cut), maker.make(KEY, cut, 7)
    for name in ("inputs", "targets", "selected", "noise_level", "coefficients"):
        assert (np.concatenate([getattr(first, name), getattr(last, name)]) == getattr(whole, name)).all()
    assert (first.digest + last.digest) % 2**64 == whole.digest
    assert first.denominator + last.denominator == whole.denominator


def test_a_masked_position_shows_the_mask_and_every_other_its_character(corpus: TokenCorpus) -> None:
    batch = recipe().batch_maker(corpus).make(KEY)
    assert (batch.inputs[batch.selected] == corpus.vocabulary.mask_id).all()
    assert (batch.inputs[~batch.selected] == batch.targets[~batch.selected]).all()


def test_two_curricula_with_one_seed_read_the_same_text_and_another_seed_does_not(corpus: TokenCorpus) -> None:
    one, other = recipe(), recipe(curriculum={"stages": [{"type": "exact_count"}]})
    text = one.batch_maker(corpus).make(BatchKey(0, 3)).targets
    assert (text == other.batch_maker(corpus).make(BatchKey(0, 3)).targets).all()
    assert (text != replace(one, seed=8).batch_maker(corpus).make(BatchKey(0, 3)).targets).any()


def test_steps_and_stages_have_masks_of_their_own(corpus: TokenCorpus) -> None:
    maker = recipe(curriculum={"stages": [{"type": "diffusion"}, {"type": "diffusion"}]}).batch_maker(corpus)
    masks = [maker.make(BatchKey(*key)).selected for key in ((0, 5), (0, 6), (1, 5))]
    assert len({mask.tobytes() for mask in masks}) == 3


def test_mixed_rows_are_dealt_out_evenly_over_the_stages(corpus: TokenCorpus) -> None:
    stages = [{"type": "random", "min_ratio": 0.0, "max_ratio": 0.0}, {"type": "random", "min_ratio": 1.0, "max_ratio": 1.0}]
    maker = recipe(curriculum={"stages": stages, "mixing": "cumulative"}, training={"batch_size": 6}).batch_maker(corpus)
    assert maker.make(BatchKey(1, 0)).selected.all(axis=1).tolist() == [False, True] * 3
    assert not maker.make(BatchKey(0, 0)).selected.any()


DRAW = MaskDraw(
    selected=np.array([[True, True, False, False], [True, False, False, False], [False] * 4]),
    probability=np.array([0.5, 0.25, 0.0], np.float32),
    elbo_weight=np.array([2.0, 4.0, 0.0], np.float32),
)


@pytest.mark.parametrize(
    ("weighting", "normalisation", "coefficients", "divisor"),
    [
        ("none", "masked_mean", [1, 1, 1], 3),
        ("none", "per_token", [1, 1, 1], 12),
        ("none", "per_sequence", [1 / 2, 1, 1], 2),
        ("elbo", "per_token", [2, 4, 0], 12),
        ("elbo", "per_sequence", [1, 4, 0], 2),
    ],
)
def test_coefficients_and_denominator_are_their_closed_forms(
    weighting: str, normalisation: str, coefficients: list[float], divisor: float
) -> None:
    objective = ObjectiveSettings.model_validate({"weighting": weighting, "normalisation": normalisation})
    assert row_coefficients(objective, DRAW).tolist() == coefficients
    assert denominator(objective, DRAW.selected) == divisor


def test_inverse_mask_probability_is_finite_even_where_nothing_can_be_masked() -> None:
    weights = row_coefficients(ObjectiveSettings(weighting="inverse_mask_prob"), DRAW)
    assert weights[:2].tolist() == [2, 4] and np.isfinite(weights).all()


def test_a_pool_tells_its_ratio_and_its_mean_run() -> None:
    selected = np.array([[1, 1, 0, 1], [0, 1, 1, 1], [0, 0, 0, 0]], bool)
    tokens = np.zeros((3, 4), np.uint8)
    pool = ValidationPool(tokens, tokens, selected, np.zeros(3, np.float32), np.ones(3, np.float32))
    assert pool.mask_ratio == 0.5
    assert pool.run_length == (2 + 1 + 3) / 3
    assert replace(pool, selected=~selected).digest != pool.digest


def test_every_row_has_exactly_one_rank() -> None:
    for size in (1, 2, 3, 5):
        for count in (1, 4, 7):
            parts = [Ranks(rank, size).part(count) for rank in range(size)]
            assert [row for first, last in parts for row in range(first, last)] == list(range(count))


def test_a_64_bit_sum_is_exact() -> None:
    assert Ranks().total_modulo_2_64(2**64 - 1) == 2**64 - 1
