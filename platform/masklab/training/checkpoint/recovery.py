"""Where all workers of a run go on: rank 0 looks and tidies up, and the others take what it found."""

from __future__ import annotations

from pathlib import Path

from masklab.training.checkpoint.store import CheckpointStore, Recovery, open_checkpoint
from masklab.training.ranks import Ranks


def recovered(store: CheckpointStore, ranks: Ranks) -> Recovery:
    """The checkpoint that this run goes on from, the same on every rank. Raises CheckpointError."""
    found = store.recover() if ranks.rank == 0 else Recovery(None)
    own = -1 if found.checkpoint is None else found.checkpoint.iteration
    agreed = int(ranks.agree(float(own)))
    if ranks.rank == 0 or agreed < 0:
        return found
    return Recovery(open_checkpoint(store.path_of(agreed)))


def iteration_reached(checkpoints: Path) -> int:
    """That of the newest checkpoint in a run's folder of `checkpoints`; 0 where there is none."""
    newest = CheckpointStore(checkpoints, {}).newest()
    return newest.iteration if newest else 0
