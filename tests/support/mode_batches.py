"""Examples as the tensors that a mode's loss takes."""

from __future__ import annotations

import numpy as np
import torch

from masklab.modes.examples import Examples
from masklab.modes.mode import ModeBatch


def batch_of(made: Examples) -> ModeBatch:
    positions = np.flatnonzero(made.selected)
    targets = made.targets.ravel()[positions]
    return ModeBatch(
        inputs=torch.from_numpy(made.inputs.astype(np.int64)),
        noise_level=torch.from_numpy(made.noise_level),
        positions=torch.from_numpy(positions),
        targets=torch.from_numpy(targets if targets.dtype.kind == "f" else targets.astype(np.int64)),
        rows=torch.from_numpy(positions // made.inputs.shape[1]),
    )
