"""Named points that a run passes, where a test may look on or end the process: a point costs nothing unless somebody listens.

A point is passed right after what it is named for, and `begun` ones right before. The names are a closed list, so that a test can go
through all of them and find each in the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

NAMES = (
    "restore.begun",
    "restore.put_back",
    "restore.set_aside",
    "restore.read",
    "step.begun",
    "step.batch",
    "step.taken",
    "log.begun",
    "log.read",
    "evaluation.begun",
    "evaluation.scored",
    "evaluation.decided",
    "stage.advanced",
    "weights.unfrozen",
    "checkpoint.begun",
    "checkpoint.copied",
    "checkpoint.folder",
    "checkpoint.file",
    "checkpoint.manifest",
    "checkpoint.flushed",
    "checkpoint.replaced",
    "checkpoint.renamed",
    "checkpoint.committed",
    "checkpoint.dropped",
    "checkpoint.pruned",
    "finish.begun",
    "finish.scored",
    "finish.saved",
    "finish.sampled",
    "file.written",
    "file.in_place",
)
"""All points."""

_listener: Callable[[str], None] | None = None


def failpoint(name: str) -> None:
    """Tell whoever listens that the point `name` is passed."""
    if _listener is not None:
        _listener(name)


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Have `listener` told of every point that this process passes, in whatever thread."""
    global _listener  # noqa: PLW0603 - one process, one run
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before
