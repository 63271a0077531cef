"""The training objective, up to the model: what each selected position's cross-entropy counts for.

The loss of a global batch is `sum_n c_n * CE_n / D` over its selected positions n: first the loss, then the weighting (c), then the
reduction (D). Both c and D are known before the model runs, so parts of a batch on several workers add up exactly.

Shapes: B sequences, T positions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masklab.corruption.masking import MaskDraw
from masklab.training.settings import ObjectiveSettings


def row_coefficients(objective: ObjectiveSettings, draw: MaskDraw) -> NDArray[np.float32]:
    """What one selected position of each row counts for: (B,) float32.

    `inverse_mask_prob` is 1/p of LLaDA (Nie et al. 2025, eq. 3), p being what the draw aimed at. `inverse_sqrt_mask_ratio` is one
    over the square root of the share that was selected, halfway between it and `none`; 0 where that is none. `elbo` is
    -alpha'_t / (1 - alpha_t) of MDLM (Sahoo et al. 2024, eq. 10), over the density that t was drawn from. `per_sequence` divides
    by the row's own number of selected positions.
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
    """This part's share of D: selected positions, all positions, or rows with any selected position."""
    if objective.normalisation == "masked_mean":
        return float(selected.sum())
    if objective.normalisation == "per_token":
        return float(selected.size)
    return float(selected.any(axis=1).sum())
