"""The judge of written characters against brute force, and against the exact model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from enumerated_denoiser import EnumeratedDenoiser
from one_row import network_probabilities
from reverse import JOINT, LETTERS, T, V, network

from masklab.model.config import ModelConfig
from masklab.modes.replaced_token_detector import ReplacedTokenDetector
from masklab.sampling.canvas import Canvas
from masklab.sampling.judge import DetectorJudge, FoldedJudge

MASK = LETTERS.mask_id


def canvas_of(texts_BT: np.ndarray, given_T: np.ndarray, mask_id: int) -> Canvas:
    """A canvas on which `texts` are written."""
    canvas = Canvas.of(texts_BT[0], given_T, mask_id, 0, len(texts_BT))
    canvas.tokens[:] = texts_BT
    return canvas


@pytest.fixture
def canvas() -> Canvas:
    texts = np.random.default_rng(0).integers(0, MASK, (5, 11))
    given = np.isin(np.arange(11), [0, 3, 4])
    canvas = canvas_of(np.where(given, texts[0], texts), given, MASK)
    canvas.tokens[:, 7] = MASK
    return canvas


@pytest.mark.parametrize("folds", [1, 2, 3, 11, 20])
@pytest.mark.parametrize("conditioned", [False, True])
def test_doubt_is_what_brute_force_finds(canvas: Canvas, folds: int, conditioned: bool) -> None:
    model = network(time_conditioning=conditioned).double()
    judge = FoldedJudge(model, MASK, 5, folds, batch_size=2)
    rows = np.array([0, 2, 3])
    doubt = judge.doubt(canvas, rows)
    for place, row in enumerate(rows):
        text = canvas.tokens[row].tolist()
        expected = [0.0] * 11
        for i in (1, 2, 5, 6, 8, 9, 10):
            together = [j for j in (1, 2, 5, 6, 8, 9, 10) if j % folds == i % folds]
            seen = [MASK if j in together else c for j, c in enumerate(text)]
            expected[i] = 1 - network_probabilities(model, seen, MASK)[i][text[i]]
        np.testing.assert_allclose(doubt[place], expected, rtol=1e-6, atol=1e-9)
    passes = len({i % folds for i in (1, 2, 5, 6, 8, 9, 10)})
    assert judge.evaluations.tolist() == [passes, 0, passes, passes, 0]


def test_a_time_conditioned_network_is_told_the_hidden_share(canvas: Canvas, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(time_conditioning=True)
    told, hidden = [], model.hidden

    def spy(tokens, noise_level, positions):  # type: ignore[no-untyped-def]
        told.append((float(noise_level[0]), (tokens[0] == MASK).float().mean().item()))
        return hidden(tokens, noise_level, positions)

    monkeypatch.setattr(model, "hidden", spy)
    FoldedJudge(model, MASK, 5).doubt(canvas, np.arange(5))
    np.testing.assert_allclose([level for level, _ in told], [5 / 11, 4 / 11], rtol=1e-6)
    assert all(level == pytest.approx(share) for level, share in told)


def test_the_canvas_stays_as_it_is_and_the_batch_size_changes_nothing(canvas: Canvas) -> None:
    before, model = canvas.tokens.copy(), network().double()
    one, all_ = (FoldedJudge(model, MASK, 5, batch_size=n).doubt(canvas, np.arange(5)) for n in (1, 64))
    np.testing.assert_allclose(one, all_, rtol=1e-9)
    assert np.array_equal(canvas.tokens, before)


def test_the_exact_model_doubts_a_wrong_character_more() -> None:
    """Of all texts that differ in one place, the more probable one has the less doubt there, when each character is a fold of its own."""
    texts = np.array(np.unravel_index(np.arange(V**T), (V,) * T)).T
    canvas = canvas_of(texts, np.zeros(T, bool), V)
    doubt = FoldedJudge(EnumeratedDenoiser(JOINT, V, T), V, len(texts), folds=T).doubt(canvas, np.arange(len(texts)))  # type: ignore[arg-type]
    table, doubts = JOINT.reshape((V,) * T), doubt.reshape((V,) * T + (T,))
    for i in range(T):
        np.testing.assert_allclose(1 - doubts[..., i], table / table.sum(axis=i, keepdims=True), atol=1e-12)


def test_a_text_with_nothing_to_doubt_takes_no_pass() -> None:
    judge = FoldedJudge(network(), MASK, 2)
    canvas = canvas_of(np.tile(np.arange(6), (2, 1)), np.ones(6, bool), MASK)
    assert not judge.doubt(canvas, np.arange(2)).any()
    assert judge.evaluations.tolist() == [0, 0]


def test_a_detector_doubts_by_what_it_says_of_the_whole_text_in_one_pass(canvas: Canvas) -> None:
    model = ReplacedTokenDetector().build(ModelConfig(n_layer=1, n_head=1, n_embd=8), LETTERS, seed=4).double()
    judge, rows = DetectorJudge(model, MASK, 5, batch_size=2), np.array([0, 2, 3])
    doubt = judge.doubt(canvas, rows)
    for place, row in enumerate(rows):
        with torch.no_grad():
            probability = model(torch.from_numpy(canvas.tokens[row][None])).softmax(-1)[0, :, 1].numpy()
        for t in range(11):
            told = not canvas.given[row, t] and canvas.tokens[row, t] != MASK
            assert doubt[place, t] == pytest.approx(probability[t] if told else 0, rel=1e-5)
    assert judge.evaluations.tolist() == [1, 0, 1, 1, 0]
    canvas.given[2] = True
    assert not judge.doubt(canvas, np.array([2])).any()
    assert judge.evaluations.tolist() == [1, 0, 1, 1, 0]
