"""The network as samplers see it: exact, counted, and not asked twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reverse import network

from masklab.sampling.canvas import Canvas
from masklab.sampling.denoiser import Denoiser

MASK = 8
START = np.array([1, 3, MASK, MASK, 0])


def canvas_of(rows: int = 3) -> Canvas:
    canvas = Canvas.of(START, START != MASK, MASK, seed=0, count=rows)
    canvas.tokens[1, 1] = 5
    return canvas


ROWS, LEVEL = np.array([0, 1, 2]), np.array([0.5, 0.4, 0.5])


@pytest.mark.parametrize("conditioned", [False, True])
def test_logits_are_those_of_the_network_at_the_masked_positions(conditioned: bool) -> None:
    model, canvas = network(time_conditioning=conditioned), canvas_of()
    got = Denoiser(model, 3).logits(canvas, ROWS, LEVEL)
    with torch.no_grad():
        whole = model(torch.tensor(canvas.tokens), torch.tensor(LEVEL, dtype=torch.float32)).double().numpy()
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, whole[canvas.masked], atol=1e-5)


def test_an_unchanged_text_is_not_passed_through_again() -> None:
    model, canvas = network(), canvas_of()
    denoiser = Denoiser(model, 3)
    first = denoiser.logits(canvas, ROWS, LEVEL)
    again = denoiser.logits(canvas, ROWS, LEVEL / 2)
    assert denoiser.evaluations.tolist() == [1, 1, 1]
    assert again.tobytes() == first.tobytes()
    canvas.tokens[2, 3] = 6
    denoiser.logits(canvas, ROWS, LEVEL)
    assert denoiser.evaluations.tolist() == [1, 1, 2]


def test_a_new_noise_level_asks_a_conditioned_network_again() -> None:
    canvas, denoiser = canvas_of(), Denoiser(network(time_conditioning=True), 3)
    denoiser.logits(canvas, ROWS, LEVEL)
    denoiser.logits(canvas, ROWS, LEVEL)
    assert denoiser.evaluations.tolist() == [1, 1, 1]
    denoiser.logits(canvas, ROWS, np.array([0.5, 0.4, 0.2]))
    assert denoiser.evaluations.tolist() == [1, 1, 2]


def test_without_reuse_every_call_is_a_pass() -> None:
    canvas, denoiser = canvas_of(), Denoiser(network(), 3, reuse=False)
    for _ in range(3):
        denoiser.logits(canvas, ROWS[:2], LEVEL[:2])
    assert denoiser.evaluations.tolist() == [3, 3, 0]


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_batch_size_changes_no_prediction(batch_size: int) -> None:
    model = network().double()
    got = Denoiser(model, 3, batch_size).logits(canvas_of(), ROWS, LEVEL)
    np.testing.assert_allclose(got, Denoiser(model, 3).logits(canvas_of(), ROWS, LEVEL), atol=1e-12)


def test_dropout_is_off_and_the_training_mode_comes_back() -> None:
    wet, dry = network(dropout=0.5), network()
    got = Denoiser(wet, 3).logits(canvas_of(), ROWS, LEVEL)
    np.testing.assert_array_equal(got, Denoiser(dry, 3).logits(canvas_of(), ROWS, LEVEL))
    assert wet.training
