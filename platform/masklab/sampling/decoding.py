"""From the network's logits to characters: temperature, truncation, and an exact draw.

Shapes: B texts, T positions, M masked positions, V characters.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import Field

from masklab.schema import Section


class Decoding(Section):
    """How a character is drawn from the network's distribution: repetition penalty, temperature, top-k, top-p, in this order."""

    temperature: float = Field(default=1.0, ge=0)
    """Divisor of the logits. 0 always takes the most probable character."""
    top_k: int | None = Field(default=None, ge=1)
    """Draw only from this many most probable characters. If null, from all."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Draw only from the smallest set of most probable characters whose probabilities sum to at least this."""
    repetition_penalty: float = Field(default=1.0, gt=0)
    """Each nearby character's probability is raised to this power, then all are renormalised. Above 1 nearby characters are drawn less
    often."""
    repetition_window: int = Field(default=8, ge=1)
    """Characters on each side of a position that count as nearby."""

    def draw(
        self, logits_MV: NDArray[np.float64], u_M: NDArray[np.float64], nearby_MV: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """Characters (M,) by the inverse distribution function at `u` (M,) in [0, 1). A character of probability 0 is never drawn.

        All in float64: Gumbel noise in float32 cuts off its tail, which lowers the temperature unseen (Zheng et al. 2024, "Masked
        diffusion models are secretly time-agnostic masked models", section 4), and one uniform number a character is exact.
        """
        if self.penalises:
            assert nearby_MV is not None
            log_MV = log_softmax(logits_MV)
            logits_MV = np.where(nearby_MV, log_MV * self.repetition_penalty, log_MV)
        if self.temperature == 0:
            best_M: NDArray[np.int64] = logits_MV.argmax(axis=1)
            return best_M
        weights_MV = self._truncated(np.exp((logits_MV - logits_MV.max(axis=1, keepdims=True)) / self.temperature))
        cumulative_MV = weights_MV.cumsum(axis=1)
        total_M1 = cumulative_MV[:, -1:]
        # u * total may round up to the total itself
        last_M = (cumulative_MV < total_M1).sum(axis=1)
        drawn_M: NDArray[np.int64] = np.minimum((cumulative_MV <= u_M[:, None] * total_M1).sum(axis=1), last_M)
        return drawn_M

    @property
    def penalises(self) -> bool:
        """Whether `draw` needs to know what stands nearby."""
        return self.repetition_penalty != 1

    def nearby(self, tokens_BT: NDArray[np.int64], at_BT: NDArray[np.bool_], V: int) -> NDArray[np.bool_] | None:
        """Which characters stand within the repetition window of each position of `at`: (M, V), or None without a penalty.

        The penalty of Keskar et al. 2019 ("CTRL", section 4.1), on log-probabilities, which have a zero where logits have none.
        """
        if not self.penalises:
            return None
        reach = min(self.repetition_window, tokens_BT.shape[1])
        padded = np.pad(tokens_BT, ((0, 0), (reach, reach)), constant_values=V)
        windows_MW = sliding_window_view(padded, 2 * reach + 1, axis=1)[at_BT]
        nearby_MV = np.zeros((len(windows_MW), V + 1), bool)
        np.put_along_axis(nearby_MV, np.minimum(windows_MW, V), True, axis=1)
        return nearby_MV[:, :V]

    def _truncated(self, weights_MV: NDArray[np.float64]) -> NDArray[np.float64]:
        """Unnormalised probabilities with 0 for all that top-k (Fan et al. 2018) and top-p (Holtzman et al. 2020) leave out."""
        V = weights_MV.shape[1]
        if (self.top_k is None or self.top_k >= V) and self.top_p == 1:
            return weights_MV
        order_MV = np.argsort(-weights_MV, axis=1, kind="stable")
        sorted_MV = np.take_along_axis(weights_MV, order_MV, axis=1)
        if self.top_k is not None:
            sorted_MV[:, self.top_k :] = 0
        before_MV = sorted_MV.cumsum(axis=1) - sorted_MV
        sorted_MV[before_MV >= self.top_p * sorted_MV.sum(axis=1, keepdims=True)] = 0
        kept_MV = np.zeros_like(weights_MV)
        np.put_along_axis(kept_MV, order_MV, sorted_MV, axis=1)
        return kept_MV


def log_softmax(logits_MV: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-probabilities (M, V)."""
    centred_MV = logits_MV - logits_MV.max(axis=1, keepdims=True)
    log_MV: NDArray[np.float64] = centred_MV - np.log(np.exp(centred_MV).sum(axis=1, keepdims=True))
    return log_MV
