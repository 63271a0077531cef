"""A causal network as a sampler sees it: the logits of the character that comes next, with the positions it took counted.

Shapes: B texts, X positions that are seen, V characters.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from masklab.model.attention import KeyValueCache
from masklab.model.training_mode import evaluation_mode
from masklab.sampling.denoiser import Denoiser


@dataclass
class NextCharacter:
    """Predictions of the model of `network`, whose batch size and counts these are too.

    With `cache`, the keys and values of what was seen are kept, and of a window that has only grown the new positions alone go through
    the network. A window that begins elsewhere has other positions and other context, so nothing is kept of the one before.
    """

    network: Denoiser
    cache: bool = True
    _kept: dict[int, KeyValueCache] = field(init=False, default_factory=dict)
    """By the first row of each batch."""
    _first: int = field(init=False, default=0)

    def logits(self, seen_BX: NDArray[np.int64], first: int) -> NDArray[np.float64]:
        """Float64 logits (B, V) of what follows the characters `seen` (B, X), which begin at position `first` of their texts.

        As long as `first` stays the same, `seen` must begin with what it was before.
        """
        if first != self._first:
            self._kept.clear()
            self._first = first
        with evaluation_mode(self.network.model):
            starts = range(0, len(seen_BX), self.network.batch_size)
            return np.concatenate([self._ask(seen_BX, start) for start in starts])

    def _ask(self, seen_BX: NDArray[np.int64], start: int) -> NDArray[np.float64]:
        """The logits of one batch, whose first row is `start`."""
        network, rows = self.network, slice(start, start + self.network.batch_size)
        cache = self._kept.setdefault(start, KeyValueCache(len(network.model.blocks))) if self.cache else None
        new = seen_BX[rows, cache.length if cache else 0 :]
        count, size = new.shape
        last = torch.arange(1, count + 1, device=network.device) * size - 1
        # not a compiled `hidden`, which would be compiled anew for each length of the cache
        hidden_BC = type(network.model).hidden(
            network.model,
            torch.from_numpy(np.ascontiguousarray(new)).to(network.device),
            torch.zeros(count, device=network.device),
            last,
            cache=cache,
        )
        network.evaluations[rows] += 1
        network.positions[rows] += size
        logits_BV: NDArray[np.float64] = network.model.head(hidden_BC).cpu().double().numpy()
        return logits_BV
