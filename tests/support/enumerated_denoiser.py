"""A process small enough to enumerate, and the denoiser that knows it exactly.

Shapes: B sequences, T positions, N chosen positions, V characters, J = V ** T possible sequences.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor, nn


class EnumeratedDenoiser(nn.Module):
    """Gives log p(x_i | visible characters) by summing a table of the joint distribution over all sequences."""

    def __init__(self, joint_J: np.ndarray, V: int, T: int) -> None:
        super().__init__()
        self.mask_id = V
        self.sequences_JT = torch.tensor(list(itertools.product(range(V), repeat=T)))
        self.one_hot_JTV = nn.functional.one_hot(self.sequences_JT, V).double()
        self.joint_J = nn.Parameter(torch.tensor(joint_J, dtype=torch.float64))

    def hidden(self, tokens_BT: Tensor, noise_level_B: Tensor | None = None, positions_N: Tensor | None = None) -> Tensor:
        fits_BJT = (tokens_BT[:, None] == self.sequences_JT) | (tokens_BT[:, None] == self.mask_id)
        weight_BJ = fits_BJT.all(-1) * self.joint_J
        unnormalised_BTV = torch.einsum("bj,jtv->btv", weight_BJ, self.one_hot_JTV)
        logits_BTV = (unnormalised_BTV / weight_BJ.sum(-1)[:, None, None]).log()
        return logits_BTV if positions_N is None else logits_BTV.flatten(0, 1)[positions_N]

    def head(self, hidden: Tensor) -> Tensor:
        return hidden


def random_joint(V: int, T: int, seed: int) -> np.ndarray:
    """A joint distribution (V ** T,) with strong dependence between positions."""
    return np.random.default_rng(seed).dirichlet(np.full(V**T, 0.3)) * 0.98 + 0.02 / V**T
