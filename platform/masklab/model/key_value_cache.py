"""What a causal model keeps of the positions that it has passed, so that the next ones need no second pass over them.

Shapes: B sequences, P passed positions, T new ones, H heads, D channels of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor


class LayerCache:
    """Keys and values (B, H, P, D) of one layer, rotated by their place in the sequence."""

    def __init__(self) -> None:
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    @property
    def length(self) -> int:
        """P."""
        return 0 if self._keys is None else self._keys.shape[2]

    def extended(self, k_BHTD: Tensor, v_BHTD: Tensor) -> tuple[Tensor, Tensor]:
        """Keep those of T more positions; all of them, (B, H, P + T, D) each."""
        if self._keys is not None and self._values is not None:
            k_BHTD, v_BHTD = torch.cat((self._keys, k_BHTD), dim=2), torch.cat((self._values, v_BHTD), dim=2)
        self._keys, self._values = k_BHTD, v_BHTD
        return k_BHTD, v_BHTD


class KeyValueCache:
    """One `LayerCache` for each of the layers. It belongs to one model and one batch of sequences."""

    def __init__(self, layers: int) -> None:
        self.layers = tuple(LayerCache() for _ in range(layers))

    @property
    def length(self) -> int:
        """Positions P that have been passed."""
        return self.layers[0].length
