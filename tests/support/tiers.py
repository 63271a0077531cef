"""How many of its many cases a randomised test runs: a sample in `make test`, all of them in `make test-full` (pytest --full)."""

from __future__ import annotations

import os

VARIABLE = "MASKLAB_TEST_FULL"
"""Set by `pytest --full`, and so known to every process of the run."""


def is_full() -> bool:
    """Whether this run is `make test-full`."""
    return VARIABLE in os.environ


def share(count: int, one_in: int = 10) -> int:
    """`count` in a full run; else one in ten of it, and at least one."""
    return count if is_full() else max(1, count // one_in)
