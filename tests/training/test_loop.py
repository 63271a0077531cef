"""The loop end to end without Ray or MLflow: events, stages, resume, and the same figures for any number of workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from recipes import recipe
from torch.nn.parallel import DistributedDataParallel

from masklab.text.corpus import TokenCorpus
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.data.batch_maker import LocalSource
from masklab.training.events import CheckpointSaved, EvaluationDone, Event, RunFinished, RunStarted, StageAdvanced, StepDone
from masklab.training.loop import Loop
from masklab.training.precision import Precision
from masklab.training.ranks import Ranks
from masklab.training.recipe import Recipe, Worker


def loop_of(made: Recipe, corpus: TokenCorpus, ranks: Ranks | None = None, store: CheckpointStore | None = None) -> Loop:
    ranks = ranks or Ranks()
    source = LocalSource(made.batch_maker(corpus), *ranks.part(made.training.rows_per_step))
    wrap = DistributedDataParallel if ranks.size > 1 else (lambda module: module)
    precision = Precision.of(made.system, torch.device("cpu"))
    worker = Worker(made, corpus.vocabulary, precision, ranks=ranks, wrap=wrap)
    return Loop(worker, made.pools(corpus), source, store)


def of_kind(events: list[Event], kind: type) -> list[Any]:
    return [e for e in events if isinstance(e, kind)]


def test_a_run_yields_its_events_in_order_and_crosses_its_stages(corpus: TokenCorpus, tmp_path: Path) -> None:
    events = list(loop_of(recipe(), corpus, store=CheckpointStore(tmp_path, {})).run())
    assert isinstance(events[0], RunStarted) and isinstance(events[-1], RunFinished)
    assert [e.iteration for e in of_kind(events, EvaluationDone)] == [4, 8, 12, 16, 20]
    assert [(e.iteration, e.ended, e.begun) for e in of_kind(events, StageAdvanced)] == [(8, 0, 1)]
    assert [e.iteration for e in of_kind(events, CheckpointSaved)] == [4, 8, 12, 16, 20]
    assert of_kind(events, StepDone)[0].iteration == 1
    last = events[-1]
    assert last.chars == 20 * 4 * 32
    assert len(last.sample) == 32
    assert [e.stage for e in of_kind(events, StepDone) if e.iteration in (8, 10)] == [0, 1]


def test_training_lowers_the_yardstick(corpus: TokenCorpus) -> None:
    made = recipe(training={"max_iters": 400, "batch_size": 16, "eval_interval": 50, "learning_rate": 1e-2})
    evaluations = of_kind(list(loop_of(made, corpus).run()), EvaluationDone)
    assert evaluations[-1].evaluation.nelbo.nats < evaluations[0].evaluation.nelbo.nats - 0.5


def test_the_same_recipe_gives_the_same_run_to_the_last_bit(corpus: TokenCorpus) -> None:
    one, other = (list(loop_of(recipe(model={"dropout": 0.2}), corpus).run())[-1] for _ in range(2))
    assert isinstance(one, RunFinished) and isinstance(other, RunFinished)
    assert one.evaluation.nelbo == other.evaluation.nelbo
    assert one.batches_digest == other.batches_digest
    assert one.sample == other.sample


@pytest.mark.parametrize("budget", [{}, {"max_iters": None, "max_masked_chars": 1200}], ids=str)
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(corpus: TokenCorpus, tmp_path: Path, budget: dict[str, Any]) -> None:
    made = recipe(model={"dropout": 0.1}, training=budget)
    whole = list(loop_of(made, corpus).run())[-1]
    for event in loop_of(made, corpus, store=CheckpointStore(tmp_path, {})).run():
        if isinstance(event, CheckpointSaved) and event.iteration == 12:
            break
    events = list(loop_of(made, corpus, store=CheckpointStore(tmp_path, {})).run())
    assert isinstance(events[0], RunStarted) and events[0].iteration == 12
    resumed = events[-1]
    assert isinstance(whole, RunFinished) and isinstance(resumed, RunFinished)
    assert resumed.evaluation.nelbo == whole.evaluation.nelbo
    assert resumed.batches_digest == whole.batches_digest
    assert (resumed.chars, resumed.masked_chars) == (whole.chars, whole.masked_chars)


MASKED = {"max_iters": None, "max_masked_chars": 900}


@pytest.mark.parametrize("stages", [[{"type": "random", "max_ratio": 0.3}], [{"type": "diffusion"}]], ids=["sparse", "dense"])
def test_a_budget_of_masked_characters_ends_within_one_step_of_it(corpus: TokenCorpus, stages: list[dict[str, Any]]) -> None:
    last = list(loop_of(recipe(curriculum={"stages": stages}, training=MASKED), corpus).run())[-1]
    assert isinstance(last, RunFinished)
    assert 900 <= last.masked_chars < 900 + 4 * 32


def test_a_stage_takes_its_share_of_a_budget_of_masked_characters(corpus: TokenCorpus) -> None:
    stages = [{"type": "random", "min_ratio": 0.2, "max_ratio": 0.2, "max_share": 0.5}, {"type": "diffusion"}]
    made = recipe(curriculum={"stages": stages, "patience": 100}, training={**MASKED, "eval_interval": 1})
    events = list(loop_of(made, corpus).run())
    (ended,) = of_kind(events, StageAdvanced)
    spent = next(e.masked_chars for e in of_kind(events, EvaluationDone) if e.iteration == ended.iteration)
    assert 450 <= spent < 450 + 4 * 32
    shares = [e.budget_used for e in of_kind(events, StepDone)]
    assert shares == sorted(shares) and shares[-1] == 1


def test_gradient_accumulation_changes_the_passes_and_not_the_step(corpus: TokenCorpus) -> None:
    one = recipe(training={"batch_size": 8, "gradient_accumulation_steps": 1})
    two = recipe(training={"batch_size": 2, "gradient_accumulation_steps": 4})
    losses = [[e.loss for e in of_kind(list(loop_of(r, corpus).run()), StepDone)] for r in (one, two)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.parametrize(
    "section",
    [
        {"objective": {"weighting": "inverse_mask_prob"}},
        {"objective": {"weighting": "elbo", "normalisation": "per_token"}},
        {"objective": {"normalisation": "per_sequence"}},
        {"objective": {"label_smoothing": 0.1}},
        {"training": {"weight_decay": 0.5}},
        {"training": {"beta1": 0.5}},
        {"training": {"beta2": 0.9}},
        {"training": {"grad_clip": 0.01}},
        {"training": {"warmup_iters": 0}},
        {"training": {"min_lr": 3e-3}},
        {"training": {"lr_decay_iters": 5}},
        {"system": {"dtype": "bfloat16"}},
        {"model": {"dropout": 0.3}},
        {"curriculum": {"mixing": "all"}},
    ],
    ids=str,
)
def test_every_key_of_the_loop_changes_the_result(corpus: TokenCorpus, section: dict[str, dict[str, Any]]) -> None:
    plain, changed = (list(loop_of(r, corpus).run())[-1] for r in (recipe(), recipe(**section)))
    assert isinstance(plain, RunFinished) and isinstance(changed, RunFinished)
    assert plain.evaluation.nelbo.nats != changed.evaluation.nelbo.nats


def _worker(rank: int, size: int, port: str, made: Recipe, corpus: TokenCorpus, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{port}", rank=rank, world_size=size)
    events = list(loop_of(made, corpus, Ranks(rank, size)).run())
    if rank == 0:
        torch.save([[e.loss for e in of_kind(events, StepDone)], events[-1].batches_digest, events[-1].evaluation.nelbo.nats], out)  # type: ignore[union-attr]
    dist.barrier()  # neither leaves while the other still talks
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "sections",
    [
        {"objective": {"normalisation": "masked_mean"}},
        {"objective": {"normalisation": "per_sequence"}},
        {"training": {"max_iters": None, "max_masked_chars": 700}},
    ],
    ids=str,
)
def test_two_gloo_workers_and_one_give_the_same_batches_and_losses(
    corpus: TokenCorpus, tmp_path: Path, sections: dict[str, dict[str, Any]]
) -> None:
    made = recipe(**{**sections, "training": {"log_interval": 1, **sections.get("training", {})}})
    alone = list(loop_of(made, corpus).run())
    out = tmp_path / "out.pt"
    mp.spawn(_worker, (2, str(tmp_path / "rendezvous"), made, corpus, str(out)), nprocs=2)
    losses, digest, nelbo = torch.load(out, weights_only=True)
    last = alone[-1]
    assert isinstance(last, RunFinished)
    assert len(losses) == last.iteration
    assert losses == pytest.approx([e.loss for e in of_kind(alone, StepDone)], abs=1e-5)
    assert digest == last.batches_digest
    assert nelbo == pytest.approx(last.evaluation.nelbo.nats, abs=1e-5)


def test_validation_pools_do_not_depend_on_the_runs_seed(corpus: TokenCorpus) -> None:
    assert recipe().pools(corpus).digest == replace(recipe(), seed=8).pools(corpus).digest
    assert recipe().pools(corpus).digest != recipe(validation={"seed": 1}).pools(corpus).digest
