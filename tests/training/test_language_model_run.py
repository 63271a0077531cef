"""A whole run of a language model through the loop: it learns, resumes, writes, and is scored alike by any number of workers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from recipes import recipe

from masklab.curriculum.curriculum import Curriculum
from masklab.likelihood.autoregressive import autoregressive_nll
from masklab.likelihood.windows import ScoredWindows
from masklab.modes.language_model import LanguageModel
from masklab.sampling.settings import SamplingSettings
from masklab.text.corpus import TokenCorpus
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.data.batch_maker import LocalSource
from masklab.training.events import CheckpointSaved, EvaluationDone, Event, RunFinished
from masklab.training.loop import Loop
from masklab.training.precision import Precision
from masklab.training.ranks import Ranks
from masklab.training.recipe import Recipe, Worker

CPU = torch.device("cpu")


def made(**training: Any) -> Recipe:
    plain = recipe(training=training, sampling={})
    nothing = Curriculum.model_validate({"stages": [{"type": "none"}]})
    return replace(plain, mode=LanguageModel(), curriculum=nothing, sampling=SamplingSettings(seed=3))


def loop_of(made: Recipe, corpus: TokenCorpus, ranks: Ranks | None = None, store: CheckpointStore | None = None) -> Loop:
    ranks = ranks or Ranks()
    source = LocalSource(made.batch_maker(corpus), *ranks.part(made.training.rows_per_step))
    return Loop(Worker(made, corpus.vocabulary, Precision.of(made.system, CPU), ranks=ranks), made.pools(corpus), source, store)


def last_of(events: list[Event]) -> RunFinished:
    assert isinstance(events[-1], RunFinished)
    return events[-1]


def test_a_run_learns_and_ends_with_its_exact_likelihood_and_a_text(corpus: TokenCorpus) -> None:
    run = loop_of(made(max_iters=150, batch_size=16, eval_interval=50, learning_rate=1e-2), corpus)
    events = list(run.run())
    losses = [event.evaluation.loss for event in events if isinstance(event, EvaluationDone)]
    assert losses == sorted(losses, reverse=True)
    last = last_of(events)
    assert last.evaluation.nelbo is not None and last.evaluation.nelbo.exact
    exact = autoregressive_nll(run.model, ScoredWindows.of(corpus, 32, 32, context=1), 8).estimate
    assert last.evaluation.nelbo.nats == pytest.approx(exact.nats, rel=1e-5)
    assert last.evaluation.nelbo.stderr == pytest.approx(exact.stderr, rel=1e-3)
    assert len(last.sample) == 32
    # a unigram model of the text is the least that it has to beat
    frequencies = np.bincount(corpus.train) / len(corpus.train)
    unigram = -np.log(frequencies[corpus.validation]).mean()
    assert last.evaluation.nelbo.nats < unigram - 1


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(corpus: TokenCorpus, tmp_path: Path) -> None:
    whole = last_of(list(loop_of(made(), corpus).run()))
    for event in loop_of(made(), corpus, store=CheckpointStore(tmp_path, {})).run():
        if isinstance(event, CheckpointSaved) and event.iteration == 12:
            break
    resumed = last_of(list(loop_of(made(), corpus, store=CheckpointStore(tmp_path, {})).run()))
    assert resumed.evaluation.nelbo == whole.evaluation.nelbo
    assert (resumed.sample, resumed.batches_digest) == (whole.sample, whole.batches_digest)


def _evaluate(rank: int, size: int, rendezvous: str, corpus: TokenCorpus, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=size)
    evaluation = _evaluation(corpus, Ranks(rank, size))
    if rank == 0:
        torch.save(evaluation, out)
    dist.barrier()  # neither leaves while the other still talks
    dist.destroy_process_group()


def _evaluation(corpus: TokenCorpus, ranks: Ranks, batch_size: int = 4) -> list[float]:
    run = loop_of(made(batch_size=batch_size), corpus, ranks)
    found = run.evaluator.evaluate(run.model, 0)
    assert found.nelbo is not None
    return [found.loss, found.nelbo.nats, found.nelbo.stderr, *found.metrics.values()]


def test_an_evaluation_is_the_same_whatever_the_batch_size_and_the_number_of_workers(corpus: TokenCorpus, tmp_path: Path) -> None:
    alone = _evaluation(corpus, Ranks())
    assert all(math.isfinite(figure) for figure in alone)
    assert _evaluation(corpus, Ranks(), batch_size=2) == pytest.approx(alone, rel=1e-5)
    mp.spawn(_evaluate, (2, str(tmp_path / "rendezvous"), corpus, str(tmp_path / "out.pt")), nprocs=2)
    assert torch.load(tmp_path / "out.pt", weights_only=True) == pytest.approx(alone, rel=1e-5)
