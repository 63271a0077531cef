"""The training objective. The loss of a global batch, over its selected positions n in rows r(n), is

    L = sum_n w_n CE_n / D        with   w_n = c_r(n) * m_n

1. Loss:      CE_n = -log p(x_n | x_t), nats (`Mode.losses`; smoothed labels as in Szegedy et al. 2016, section 7).
2. Weight:    c_r is `row_coefficients`, such as 1/p or the ELBO's -alpha'_t / (1 - alpha_t); m_n is `Mode.weights`, or 1.
3. Reduction: D is `denominator`, over all workers.

c and D are known before the model runs, so the parts of a batch on several workers add up exactly.

Shapes: B sequences, T positions, N selected positions.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from masklab.corruption.masking import MaskDraw
from masklab.model.transformer import Transformer
from masklab.modes.mode import Mode, ModeBatch
from masklab.training.settings import ObjectiveSettings


class LossModule(nn.Module):
    """The model with its mode's loss: the one module that is wrapped for several workers.

    With `shared`, the parameter `carrier` (always 0) transports the loss along with the gradients: its gradient is the loss, and
    workers average it with the others, so that every worker knows the loss of all without another message.
    """

    def __init__(self, model: Transformer, mode: Mode, label_smoothing: float, shared: bool = False) -> None:
        super().__init__()
        self.model, self.mode, self.label_smoothing = model, mode, label_smoothing
        self.carrier = nn.Parameter(torch.zeros((), device=model.embedding.weight.device)) if shared else None

    def forward(self, batch: ModeBatch, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """`sum_n w_n CE_n`, still to be divided by D, and `sum_n CE_n` without a gradient; `coefficients` is c (B,)."""
        losses_N = self.mode.losses(self.model, batch, self.label_smoothing)  # CE_n
        weights_N, mode_weights_N = coefficients[batch.rows], self.mode.weights(self.model, batch)  # c_r(n), m_n
        if mode_weights_N is not None:
            weights_N = weights_N * mode_weights_N  # w_n
        weighted_sum = (losses_N * weights_N).sum()  # sum_n w_n CE_n
        if self.carrier is not None:
            weighted_sum = weighted_sum + self.carrier * weighted_sum.detach()
        return weighted_sum, losses_N.detach().sum()


def row_coefficients(objective: ObjectiveSettings, draw: MaskDraw) -> NDArray[np.float32]:
    """The weight c of each row's selected positions, (B,) float32.

    - `inverse_mask_prob`: 1/p, p being the mask probability of the draw (LLaDA; Nie et al. 2025, eq. 3);
    - `inverse_sqrt_mask_ratio`: 1/sqrt of the row's realised mask ratio, halfway between 1/p and `none`; 0 where nothing is masked;
    - `elbo`: -alpha'_t / (1 - alpha_t), divided by the density that t was drawn from (MDLM; Sahoo et al. 2024, eq. 10).

    `per_sequence` normalisation divides c by the row's number of selected positions.
    """
    if objective.weighting == "none":
        weight: NDArray[np.floating] = np.ones(len(draw.probability), np.float32)
    elif objective.weighting == "inverse_mask_prob":
        weight = np.float32(1) / np.maximum(draw.probability, np.float32(1e-6))
    elif objective.weighting == "inverse_sqrt_mask_ratio":
        share = draw.selected.mean(axis=1)
        weight = np.divide(1.0, np.sqrt(share), out=np.zeros_like(share), where=share > 0)
    else:
        weight = draw.elbo_weight
    if objective.normalisation == "per_sequence":
        weight = weight / np.maximum(draw.selected.sum(axis=1), 1).astype(np.float32)
    return np.asarray(weight, np.float32)


def denominator(objective: ObjectiveSettings, selected: NDArray[np.bool_]) -> float:
    """D of the rows `selected` (B, T): their selected positions, all positions, or rows with any selected position."""
    if objective.normalisation == "masked_mean":
        return float(selected.sum())
    if objective.normalisation == "per_token":
        return float(selected.size)
    return float(selected.any(axis=1).sum())
