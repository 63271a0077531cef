"""Failpoints: named points of a run at which a test can observe the process or kill it. Without a listener they cost nothing.

A failpoint lies right after the operation that it is named for; one called `begun` lies right before it. The names are a closed list, so
that a test can visit all of them.
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
"""All failpoints."""

_listener: Callable[[str], None] | None = None


def failpoint(name: str) -> None:
    """Call the listener, if there is one, with `name`."""
    if _listener is not None:
        _listener(name)


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Call `listener` at every failpoint that this process passes, in any thread."""
    global _listener  # noqa: PLW0603 - one process, one run
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before
