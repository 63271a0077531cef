"""The detector of replaced characters: what it is shown, what it learns, and what is told of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mode_batches import batch_of

from masklab.corruption.masking import Masking, Replacement
from masklab.corruption.random_ratio import RandomRatio
from masklab.corruption.span import Span
from masklab.corruption.sticky import Sticky
from masklab.model.config import ModelConfig
from masklab.modes.examples import Examples
from masklab.modes.metrics import auroc, balanced_accuracy, calibration_error, log_loss
from masklab.modes.replaced_token_detector import ReplacedTokenDetector, fragments, log_odds
from masklab.rng import RowStreams, root_key
from masklab.text.rows import Rows
from masklab.text.vocabulary import Vocabulary
from masklab.training.loss import LossModule

LETTERS = Vocabulary(tuple("abcdefgh"))
CPU = torch.device("cpu")
SMALL = ModelConfig(n_layer=1, n_head=2, n_embd=16)
T, COUNT = 40, 60
TENTH = RandomRatio(min_ratio=0.1, max_ratio=0.1)
MASKINGS: list[Masking] = [TENTH, Sticky(mask_ratio=0.3, p_start=0.2, p_extend=0.8), Span(spans_count=2), RandomRatio(max_ratio=1.0)]


def rows(mode: ReplacedTokenDetector, count: int = COUNT, seed: int = 0) -> Rows:
    return Rows(np.random.default_rng(seed).integers(0, LETTERS.size, (count, mode.window(T))).astype(np.uint8))


def examples(mode: ReplacedTokenDetector, masking: Masking, part: slice = slice(None), seed: int = 1) -> Examples:
    numbers = np.arange(COUNT)[part]
    return mode.examples(rows(mode).at(part), masking, RowStreams.of(root_key(seed), numbers, COUNT), LETTERS)


@pytest.mark.parametrize("masking", MASKINGS, ids=lambda m: m.type)
@pytest.mark.parametrize("replacement", ["random", "fragments"])
def test_a_label_says_whether_the_character_differs_and_no_mask_is_shown(masking: Masking, replacement: str) -> None:
    mode = ReplacedTokenDetector(replacement=replacement)
    made, original = examples(mode, masking), rows(mode).tokens[:, :T]
    chosen = masking.draw(RowStreams.of(root_key(1), np.arange(COUNT), COUNT), T).selected
    for row in range(COUNT):
        for t in range(T):
            assert made.targets[row, t] == (made.inputs[row, t] != original[row, t])
            assert chosen[row, t] or not made.targets[row, t]
    assert made.inputs.max() < LETTERS.size
    assert made.selected.all()
    assert (chosen & (made.targets == 0)).any(), "a character that comes out as it was counts as original"


@pytest.mark.parametrize("replacement", ["random", "fragments"])
@pytest.mark.parametrize("masking", MASKINGS, ids=lambda m: m.type)
def test_examples_are_a_pure_function_of_the_key_whatever_part_is_made(masking: Masking, replacement: str) -> None:
    mode = ReplacedTokenDetector(replacement=replacement)
    whole = examples(mode, masking)
    parts = Examples.joined([examples(mode, masking, part) for part in (slice(0, 7), slice(7, 8), slice(8, COUNT))])
    for name in ("inputs", "targets", "selected", "noise_level"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    assert not np.array_equal(whole.inputs, examples(mode, masking, seed=2).inputs)


@pytest.mark.parametrize("replacement", ["random", "fragments"])
def test_a_stages_own_shares_hold_and_masks_alone_become_what_the_mode_says(replacement: str) -> None:
    mode = ReplacedTokenDetector(replacement=replacement)
    everything = {"min_ratio": 1.0, "max_ratio": 1.0}
    assert not examples(mode, RandomRatio(**everything, replacement=Replacement(mask=0, keep=1))).targets.any()
    shares = Replacement(mask=0, random=1)
    uniform = examples(mode, RandomRatio(**everything, replacement=shares))
    other = examples(ReplacedTokenDetector(), RandomRatio(**everything, replacement=shares))
    assert uniform.targets.mean() == pytest.approx(1 - 1 / LETTERS.size, abs=0.02)
    if replacement == "random":
        np.testing.assert_array_equal(uniform.inputs, other.inputs)
    else:
        text = rows(mode).tokens[:, T:]
        whole_piece = examples(mode, RandomRatio(**everything))
        np.testing.assert_array_equal(whole_piece.inputs, text)
        assert not np.array_equal(uniform.inputs, text)


@given(st.integers(0, 2**32), st.integers(1, 24), st.integers(0, 12))
def test_each_run_becomes_a_piece_of_the_other_text(seed: int, length: int, more: int) -> None:
    generator = np.random.default_rng(seed)
    where = generator.random((3, length)) < generator.random()
    text = np.tile(np.arange(length + more), (3, 1))
    made = fragments(text, where, generator.integers(0, 2**63, 3).astype(np.uint64))
    for b in range(3):
        for t in range(length):
            if where[b, t] and t and where[b, t - 1]:
                assert made[b, t] == made[b, t - 1] + 1


def test_pieces_begin_evenly_over_all_places_that_leave_room() -> None:
    where = np.tile(np.arange(10) < 4, (6000, 1))
    made = fragments(np.tile(np.arange(12), (6000, 1)), where, np.random.default_rng(0).integers(0, 2**63, 6000).astype(np.uint64))
    counts = np.bincount(made[:, 0], minlength=9)
    assert len(counts) == 9
    assert ((counts - 6000 / 9) ** 2 / (6000 / 9)).sum() < 26.1  # chi squared, 8 degrees of freedom, p = 0.001


def test_the_expected_share_is_that_of_many_examples() -> None:
    for shares in (Replacement(), Replacement(mask=0.5, random=0.2, keep=0.3)):
        for masking in MASKINGS[:2]:
            stage = masking.model_copy(update={"replacement": shares})
            mode = ReplacedTokenDetector()
            share = np.mean([examples(mode, stage, seed=seed).targets.mean() for seed in range(40)])
            assert share == pytest.approx(mode.expected_share(stage, T, LETTERS), rel=0.03)
    made = examples(ReplacedTokenDetector(), TENTH)
    np.testing.assert_allclose(made.noise_level, 0.1 * 7 / 8, rtol=1e-6)


def test_balanced_weights_are_inverse_to_the_share_of_the_stage_and_no_batch_changes_them() -> None:
    made = examples(ReplacedTokenDetector(), TENTH)
    model = ReplacedTokenDetector().build(SMALL, LETTERS, seed=3)
    with torch.no_grad():
        plain = ReplacedTokenDetector().losses(model, batch_of(made), 0.1)
        weights = ReplacedTokenDetector().weights(model, batch_of(made))
        part = ReplacedTokenDetector().weights(model, batch_of(made.at(slice(5, 6))))
    assert weights is not None and part is not None
    assert ReplacedTokenDetector(class_weights="none").weights(model, batch_of(made)) is None
    share = 0.1 * 7 / 8
    expected = np.where(made.targets.ravel() == 1, 0.5 / share, 0.5 / (1 - share))
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(part.numpy(), weights[5 * T : 6 * T].numpy(), rtol=1e-4)
    logits = model(torch.from_numpy(made.inputs.astype(np.int64))).detach().log_softmax(-1).double().numpy().reshape(-1, 2)
    for n in range(0, len(plain), 37):
        right = logits[n, made.targets.ravel()[n]]
        assert plain[n].item() == pytest.approx(-(0.95 * right + 0.05 * (logits[n].sum() - right)), rel=1e-4)


@pytest.mark.parametrize("weights", ["balanced", "none"])
@pytest.mark.parametrize("conditioned", [False, True])
def test_figures_are_those_of_every_position_and_no_batch_size_changes_them(weights: str, conditioned: bool) -> None:
    mode = ReplacedTokenDetector(class_weights=weights)
    model = mode.build(SMALL.model_copy(update={"time_conditioning": conditioned}), LETTERS, seed=3)
    made = Examples.joined([examples(mode, masking) for masking in MASKINGS[:2]])
    odds, predicted = np.zeros(made.inputs.shape), np.zeros(made.inputs.shape, bool)
    for row, inputs in enumerate(made.inputs):
        with torch.no_grad():
            one = model(torch.from_numpy(inputs[None].astype(np.int64)), torch.zeros(1))[0].double().numpy()
        share = float(made.noise_level[row])
        odds[row] = one[:, 1] - one[:, 0] + (np.log(share / (1 - share)) if weights == "balanced" else 0)
        predicted[row] = 1 / (1 + np.exp(-odds[row])) > share
    true = made.targets.ravel() == 1
    expected = {
        "loss": log_loss(odds.ravel(), true),
        "balanced_accuracy": balanced_accuracy(predicted.ravel(), true),
        "auroc": auroc(odds.ravel(), true),
        "calibration_error": calibration_error(1 / (1 + np.exp(-odds.ravel())), true),
        "replaced_share": true.mean(),
        "constant_loss": -(true.mean() * np.log(true.mean()) + (1 - true.mean()) * np.log(1 - true.mean())),
        "constant_balanced_accuracy": 0.5,
    }
    for batch_size in (1, 7, 512):
        assert mode.metrics(mode.scores(model, made, batch_size, CPU), made) == pytest.approx(expected, rel=1e-4)
    assert mode.scores(model, made.at(slice(0, 0)), 4, CPU).shape == (0, T)
    assert log_odds(model, made.inputs[:3], 2, CPU).shape == (3, T)


@pytest.mark.parametrize("weights", ["balanced", "none"])
def test_it_learns_to_tell_and_says_probabilities_that_are_right_with_any_weights(weights: str) -> None:
    """Texts count through the alphabet, so that a replaced character stands out."""
    mode = ReplacedTokenDetector(class_weights=weights)

    def made(seed: int) -> Examples:
        starts = np.random.default_rng(seed).integers(0, 8, (64, 1))
        texts = ((starts + np.arange(24)) % 8).astype(np.uint8)
        return mode.examples(Rows(texts), TENTH, RowStreams.of(root_key(seed), np.arange(64), 64), LETTERS)

    model = mode.build(SMALL.model_copy(update={"n_layer": 2, "n_embd": 32}), LETTERS, seed=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(150):
        optimizer.zero_grad()
        (LossModule(model, mode, 0.0)(batch_of(made(step)), torch.ones(64))[0] / (64 * 24)).backward()
        optimizer.step()
    held_out = made(10_000)
    figures = mode.metrics(mode.scores(model, held_out, 64, CPU), held_out)
    assert figures["balanced_accuracy"] > 0.9
    assert figures["auroc"] > 0.95
    assert figures["loss"] < 0.5 * figures["constant_loss"]
    assert figures["calibration_error"] < 0.03
