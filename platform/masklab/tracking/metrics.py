"""The figures of an event, under the names that the MLflow UI shows: it makes a section of all before the last slash."""

from __future__ import annotations

import math

from masklab.training.events import Evaluation, EvaluationDone, Event, RolledBack, RunFinished, StepDone, StepSkipped


def metrics_of(event: Event) -> dict[str, float]:
    """Metric name -> figure; empty for an event that holds no figures.

    Losses are in nats per masked character, `val/nelbo_*` per character of text.
    """
    if isinstance(event, StepDone):
        return _of_step(event)
    if isinstance(event, EvaluationDone):
        return _of_evaluation(event.evaluation) | _of_progress(event)
    if isinstance(event, StepSkipped):
        return {"stability/skipped_steps": event.skipped_steps}
    if isinstance(event, RolledBack):
        return {"stability/rollbacks": event.number}
    if isinstance(event, RunFinished):
        counts = {"progress/iters": event.iteration, "progress/chars": event.chars, "progress/masked_chars": event.masked_chars}
        return _of_evaluation(event.evaluation, "final") | counts
    return {}


def _of_step(event: StepDone) -> dict[str, float]:
    metrics = {
        "train/loss": event.loss,
        "train/lr": event.learning_rate,
        "train/grad_norm": event.grad_norm,
        "progress/iters": event.iteration,
        "progress/chars": event.chars,
        "progress/masked_chars": event.masked_chars,
        "perf/chars_per_second": event.chars_per_second,
        "perf/data_wait_fraction": event.data_wait_fraction,
    }
    if event.overflows:
        metrics["stability/overflows"] = event.overflows
    return metrics if event.mfu is None else metrics | {"perf/mfu": event.mfu}


def _of_evaluation(evaluation: Evaluation, section: str = "val") -> dict[str, float]:
    """Under `val/`, or for the large final pool, which is another estimate of the same, under `final/`."""
    metrics = {
        f"{section}/loss": evaluation.loss,
        f"{section}/mask_ratio": evaluation.mask_ratio,
        f"{section}/run_length": evaluation.run_length,
    }
    metrics |= {f"{section}/{name}": figure for name, figure in evaluation.figures.items()}
    if nelbo := evaluation.nelbo:
        metrics |= {f"{section}/nelbo_nats": nelbo.nats, f"{section}/nelbo_bpc": nelbo.bpc, f"{section}/nelbo_stderr": nelbo.stderr}
    for i, score in enumerate(evaluation.stages):
        metrics |= {f"{section}/stage_{name}/{i:02d}": figure for name, figure in {"loss": score.loss, **score.figures}.items()}
    return metrics


def _of_progress(event: EvaluationDone) -> dict[str, float]:
    metrics: dict[str, float] = {
        "curriculum/stage": event.progress.stage,
        "curriculum/stale_evals": event.progress.stale_evaluations,
    }
    # a stage that has just begun has no best yet, and a database no infinity
    return metrics if math.isinf(event.progress.best_loss) else metrics | {"curriculum/best_loss": event.progress.best_loss}
