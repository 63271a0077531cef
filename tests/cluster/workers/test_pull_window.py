"""The pull window hands out the same batches whatever becomes of the producer."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from masklab.curriculum.curriculum import Curriculum
from masklab.modes.token_classifier import TokenClassifier
from masklab.text.corpus import TokenCorpus
from masklab.training.data.batch import Batch, BatchKey
from masklab.training.data.batch_maker import BatchMaker, LocalSource
from masklab.training.settings import BatchSettings, ObjectiveSettings

pytestmark = pytest.mark.ray

STAGES = [{"type": "random", "max_ratio": 0.3}, {"type": "diffusion"}]
KEYS = [BatchKey(0, step) for step in range(10)] + [BatchKey(1, step) for step in range(10, 22)]


@pytest.fixture
def maker(corpus: TokenCorpus) -> BatchMaker:
    texts = corpus.training_rows(32, "anywhere")
    return BatchMaker(TokenClassifier(), texts, corpus.vocabulary, Curriculum.model_validate({"stages": STAGES}), ObjectiveSettings(), 3, 4)


@pytest.fixture
def producer_class(ray_cluster: Any) -> Any:
    """A producer that can be told to fail, by the number of the first step."""
    from masklab.training.data.batch import pack

    class Producer:
        def __init__(self, maker: BatchMaker, kill_at: int = -1, fail_at: int = -1, fail_from: int = 1000) -> None:
            self.maker, self.kill_at, self.fail_at, self.fail_from = maker, kill_at, fail_at, fail_from

        def chunk(self, stage: int, first_step: int, steps: int, first_row: int, last_row: int) -> Any:
            import os

            if first_step == self.kill_at:
                os._exit(1)
            if first_step == self.fail_at or self.fail_from <= first_step < 1000:
                raise RuntimeError("made to fail")
            return pack([self.maker.make(BatchKey(stage, s), first_row, last_row) for s in range(first_step, first_step + steps)])

    return ray_cluster.remote(num_cpus=0, max_restarts=1)(Producer)


def window_on(producer: Any, maker: BatchMaker) -> Any:
    """A window whose producer is up, so that its chunks are waited for."""
    import ray

    from masklab.cluster.workers.batch_producer import PullWindow

    ray.get(producer.chunk.remote(0, 1000, 1, 0, 4), timeout=60)
    window = PullWindow(lambda: producer, LocalSource(maker, 0, 4), BatchSettings(chunk_steps=4, timeout_seconds=60))
    window._in_time = True
    return window


@pytest.mark.parametrize("trouble", [{}, {"kill_at": 8}, {"fail_at": 4}, {"fail_at": 12}], ids=str)
def test_the_batches_are_the_same_with_a_quiet_a_killed_and_a_failing_producer(
    maker: BatchMaker, producer_class: Any, trouble: dict[str, int]
) -> None:
    window = window_on(producer_class.remote(maker, **trouble), maker)
    assert [window.take(key).digest for key in KEYS] == [maker.make(key, 0, 4).digest for key in KEYS]


def test_a_producer_that_is_up_makes_all_the_batches_of_a_stage_but_the_first(maker: BatchMaker, producer_class: Any) -> None:
    window = window_on(producer_class.remote(maker), maker)
    for key in KEYS[:10]:
        window.take(key)
    assert window.made_here == 1, "the first step's alone"


def test_a_producer_that_keeps_failing_is_asked_ever_more_seldom(maker: BatchMaker, producer_class: Any) -> None:
    window = window_on(producer_class.remote(maker, fail_from=0), maker)
    keys, pauses = [BatchKey(0, 4 * i) for i in range(40)], []
    for key in keys:
        window._in_time = True
        assert window.take(key).digest == maker.make(key, 0, 4).digest
        pauses.append(window._pause)
    assert window.made_here == len(keys)
    assert [pause for before, pause in pairwise(pauses) if pause > before] == [1, 3, 7, 15, 31]


def test_a_batch_out_of_a_chunk_equals_the_batch_itself(maker: BatchMaker) -> None:
    from masklab.training.data.batch import pack, unpack

    batches = [maker.make(BatchKey(1, step), 1, 3) for step in (5, 6, 7)]
    chunk = pack(batches)
    for batch in batches:
        assert_same(unpack(chunk, batch.key.step), batch)


def assert_same(one: Batch, other: Batch) -> None:
    assert (one.key, one.denominator, one.digest) == (other.key, other.denominator, other.digest)
    for name in ("inputs", "targets", "selected", "noise_level", "coefficients"):
        assert (getattr(one, name) == getattr(other, name)).all()
        assert getattr(one, name).dtype == getattr(other, name).dtype
