"""Texts with every number of masked positions at once, and a network without opinions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from reverse import settings_of
from torch import Tensor, nn

from masklab.sampling.canvas import Canvas
from masklab.sampling.denoiser import Denoiser
from masklab.sampling.generation import Generation, run
from masklab.sampling.sampler import ReverseProcess


class Flat(nn.Module):
    """Gives each of `V` characters the same probability."""

    def __init__(self, V: int) -> None:
        super().__init__()
        self.logits_V = nn.Parameter(torch.zeros(V))

    def hidden(self, tokens_BT: Tensor, noise_level_B: Tensor, positions_N: Tensor) -> Tensor:
        return positions_N[:, None]

    def head(self, hidden_N1: Tensor) -> Tensor:
        return self.logits_V.expand(len(hidden_N1), -1)


def ragged_canvas(most: int, mask_id: int, seed: int) -> Canvas:
    """Row n of `most + 1` has n masked positions, here and there; the other characters are given."""
    place, spread = np.arange(most), np.random.default_rng(0).permutation(most)
    masked = spread < np.arange(most + 1)[:, None]
    canvas = Canvas.of(np.zeros(most, np.int64), np.zeros(most, bool), mask_id, seed, most + 1)
    canvas.tokens = np.where(masked, mask_id, place * 5 % mask_id)
    canvas.given = ~masked
    canvas.confidence = np.where(masked, np.nan, 1.0)
    return canvas


def run_ragged(model: Any, most: int, mask_id: int, **keys: Any) -> Generation:
    """Fill the masked positions of the ragged canvas."""
    settings = settings_of(num_samples=most + 1, **keys)
    canvas, denoiser = ragged_canvas(most, mask_id, settings.seed), Denoiser(model, most + 1)
    return run(ReverseProcess(canvas, denoiser, settings, most), settings)
