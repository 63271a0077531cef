"""Whatever becomes of the producer and of the object store, the loop gets the batches of a quiet run, and waits within limits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from masklab.curriculum.curriculum import Curriculum
from masklab.modes.token_classifier import TokenClassifier
from masklab.text.corpus import TokenCorpus
from masklab.training.data.batch import BatchKey, pack
from masklab.training.data.batch_maker import BatchMaker, LocalSource
from masklab.training.settings import BatchSettings, ObjectiveSettings

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]

STAGES = [{"type": "random", "max_ratio": 0.3}, {"type": "diffusion"}]
KEYS = [BatchKey(0, step) for step in range(24)] + [BatchKey(1, step) for step in range(24, 60)]
TIMEOUT = 0.5


def producer_class() -> type:
    """A class that Ray sends by its code: its processes know nothing of this module."""
    limit = TIMEOUT

    class Producer:
        """Makes chunks, but for its troubles: a chunk's first step -> what happens there, once."""

        def __init__(self, maker: BatchMaker, troubles: dict[int, str], fuse: str) -> None:
            self.maker, self.troubles, self.fuse = maker, troubles, fuse

        def chunk(self, stage: int, first_step: int, steps: int, first_row: int, last_row: int) -> Any:
            trouble = self.troubles.get(first_step)
            import os
            import time

            if trouble and not os.path.exists(f"{self.fuse}{first_step}"):  # noqa: PTH110 - a name, not a path
                with open(f"{self.fuse}{first_step}", "w"):  # noqa: PTH123
                    pass
                if trouble == "dies":
                    os._exit(1)
                elif trouble == "raises":
                    raise RuntimeError("made to fail")
                elif trouble == "hangs":
                    time.sleep(1000)
                elif trouble == "is slow":
                    time.sleep(3 * limit)
                elif trouble == "finds the store full":
                    import ray

                    raise ray.exceptions.ObjectStoreFullError("made to fail")
            return pack([self.maker.make(BatchKey(stage, s), first_row, last_row) for s in range(first_step, first_step + steps)])

    return Producer


@pytest.fixture
def maker(corpus: TokenCorpus) -> BatchMaker:
    texts = corpus.training_rows(32, "anywhere")
    return BatchMaker(TokenClassifier(), texts, corpus.vocabulary, Curriculum.model_validate({"stages": STAGES}), ObjectiveSettings(), 3, 4)


@pytest.fixture
def window_on(ray_cluster: Any, maker: BatchMaker, tmp_path: Any) -> Callable[..., Any]:
    """A window whose producer, with the given troubles, is up."""

    def made(troubles: dict[int, str]) -> Any:
        from masklab.cluster.workers.batch_producer import PullWindow

        actor = ray_cluster.remote(num_cpus=0, max_restarts=-1)(producer_class()).remote(maker, troubles, f"{tmp_path}/fuse")
        ray_cluster.get(actor.chunk.remote(0, 1000, 1, 0, 4), timeout=60)
        settings = BatchSettings(chunk_steps=4, timeout_seconds=TIMEOUT, prefetch_chunks=2)
        window = PullWindow(lambda: actor, LocalSource(maker, 0, 4), settings)
        window._in_time, window._patience = True, 2 * TIMEOUT
        return window

    return made


def use_producer(window: Any, maker: BatchMaker) -> int:
    """Take batches beyond `KEYS` until the producer, which a busy machine starts late, has made one. Returns how many were taken."""
    taken, deadline = len(KEYS), time.monotonic() + 60
    while window.made_here == taken:
        assert time.monotonic() < deadline, "the producer is not used again"
        key = BatchKey(1, taken)
        assert window.take(key).digest == maker.make(key, 0, 4).digest
        taken += 1
        time.sleep(0.05)
    return taken


@pytest.mark.parametrize("trouble", ["dies", "raises", "hangs", "is slow", "finds the store full"])
def test_the_batches_are_those_of_a_quiet_run_when_the_producer(
    trouble: str, window_on: Callable[..., Any], maker: BatchMaker, told: Callable[[str], None]
) -> None:
    window = window_on({8: trouble, 36: trouble})
    longest = 0.0
    for key in KEYS:
        asked = time.monotonic()
        batch = window.take(key)
        longest = max(longest, time.monotonic() - asked)
        assert batch.digest == maker.make(key, 0, 4).digest
        time.sleep(0.05)  # a step's work
    taken = use_producer(window, maker)
    told(
        f"producer {trouble}, twice: {taken} batches, 0 differ; {window.made_here} made by the worker, {window.killed} producers "
        f"started anew, longest wait {longest:.2f} s (limit {TIMEOUT:g} s)"
    )


def test_a_producer_that_hangs_is_killed_and_used_again_once_it_is_up(window_on: Callable[..., Any], maker: BatchMaker) -> None:
    window = window_on({8: "hangs"})
    step = 0
    deadline = time.monotonic() + 60
    while not (window.killed and window._in_time):
        key = BatchKey(0, step)
        assert window.take(key).digest == maker.make(key, 0, 4).digest
        assert time.monotonic() < deadline, "it was not used again"
        step += 1
        time.sleep(0.02)
    assert window.killed == 1


def test_a_producer_that_can_never_be_started_costs_a_pause_that_grows(ray_cluster: Any, maker: BatchMaker) -> None:
    from masklab.cluster.workers.batch_producer import LONGEST_PAUSE, PullWindow

    starts = 0

    def start() -> Any:
        nonlocal starts
        starts += 1
        raise ray_cluster.exceptions.RaySystemError("no such node")

    window = PullWindow(start, LocalSource(maker, 0, 4), BatchSettings(chunk_steps=1))
    keys = [BatchKey(0, step) for step in range(300)]
    assert [window.take(key).digest for key in keys] == [maker.make(key, 0, 4).digest for key in keys]
    assert window.made_here == len(keys)
    assert 300 / LONGEST_PAUSE < starts < 12


def test_a_chunk_that_the_store_has_lost_is_made_by_the_worker(
    window_on: Callable[..., Any], maker: BatchMaker, monkeypatch: pytest.MonkeyPatch, told: Callable[[str], None]
) -> None:
    from ray.exceptions import ObjectLostError

    from masklab.cluster.workers import batch_producer as pull_window

    window, lost, get = window_on({}), [], pull_window.ray.get

    def lossy(reference: Any, timeout: float) -> Any:
        assert timeout == TIMEOUT, "no wait without a limit"
        if len(lost) < 3:
            lost.append(reference)
            raise ObjectLostError(reference.hex(), "", "")
        return get(reference, timeout=timeout)

    monkeypatch.setattr(pull_window.ray, "get", lossy)
    for key in KEYS:
        assert window.take(key).digest == maker.make(key, 0, 4).digest
        time.sleep(0.02)
    taken = use_producer(window, maker)
    assert len(lost) == 3
    told(f"objects lost: 3; {taken} batches, 0 differ")
