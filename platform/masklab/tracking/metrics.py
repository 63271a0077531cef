"""Every metric name that can reach MLflow, and the functions that make them. The MLflow UI groups by the part before the last slash.

A metric's step is the iteration (optimizer steps so far) unless its row names another. Nats and bits are per character. `<stage>` is the
two-digit number of a validation stage, `<key>` a searched configuration key, `<metric>` a name of the table of modes. What is `val/` here
is measured at each evaluation, and once more at the end, on larger pools, as `final/`.

Train
    train/loss                                  nats            mean over the counted positions of a log interval
    train/lr                                    -               learning rate
    train/grad_norm                             -               before clipping
    progress/iters                              iterations      each log interval, and the end
    progress/chars                              characters      seen so far by all workers; each log interval, and the end
    progress/masked_chars                       characters      counted in the loss so far; each log interval, and the end
    perf/chars_per_second                       1/s             all workers, over a log interval
    perf/data_wait_fraction                     share           of a log interval's time, spent waiting for batches
    perf/mfu                                    share           model FLOPs utilisation, if the device's peak is known
    stability/overflows                         steps           so far, once float16 has overflowed
    stability/skipped_steps                     steps           so far, when one is skipped
    stability/rollbacks                         rollbacks       so far, when the run returns to a checkpoint
    val/loss                                    nats            mean of the stages' losses (of numbers: squared error)
    val/<metric>                                -               over all stages
    val/mask_ratio                              share           in the current stage's pool
    val/run_length                              characters      mean length of a masked run in the current stage's pool
    val/nelbo_nats                              nats            modes with a likelihood
    val/nelbo_bpc                               bits            modes with a likelihood
    val/nelbo_stderr                            nats            standard error of val/nelbo_nats
    val/stage_loss/<stage>                      nats            of one validation stage
    val/stage_<metric>/<stage>                  -               of one validation stage
    curriculum/stage                            number          each evaluation: the stage in training
    curriculum/stale_evals                      evaluations     since the best of the stage
    curriculum/best_loss                        nats            best of the stage, from its first evaluation on

Compare and tune
    nelbo_nats/<arm>                            nats            mean over the seeds; step: number of seeds
    trial/nelbo_nats                            nats            a finished trial; step: number of the trial
    best/nelbo_nats                             nats            the best trial so far; step: number of the trial
    values/<key>                                -               in a PBT trial's run: the key's value from this step on

Evaluate: `<run>` is the number of the output folder and the curriculum or dataset, `<bound>` is nelbo, nll, continuous_time,
orders_together or orders_one_by_one
    evaluation/<run>/<bound>_nats               nats            bound or exact value
    evaluation/<run>/<bound>_bpc                bits            the same
    evaluation/<run>/<bound>_stderr             nats            its standard error
    evaluation/<run>/stage_loss/<stage>         nats            of one validation stage
    evaluation/<run>/stage_accuracy/<stage>     share           of one validation stage
    evaluation/<run>/difference/<bound>_nats    nats            less that of the model in `against`
    evaluation/<run>/difference/<bound>_bpc     bits            less that of the model in `against`
    evaluation/<run>/difference/<bound>_stderr  nats            standard error of the paired difference
    evaluation/<run>/difference/stage_loss/<stage>  nats        less that of the model in `against`
    evaluation/<run>/sampler_network_evaluations/<sampler>      passes      forward passes per text
    evaluation/<run>/sampler_characters_per_second/<sampler>    1/s         generated
    evaluation/<run>/sampler_divergence/<sampler>               bits        Jensen-Shannon, longest n-grams, from held-out text
    evaluation/<run>/sampler_distinct/<sampler>                 share       distinct among the longest n-grams
    evaluation/<run>/sampler_entropy/<sampler>                  bits        of single characters
    evaluation/<run>/sampler_real_words/<sampler>               share       words that the training text has
    evaluation/<run>/loss                       nats            modes that predict labels, and detectors
    evaluation/<run>/<metric>                   -               modes that predict labels, and detectors

Metrics of the modes
    accuracy                                    share           characters and classes
    model_vs_random                             ratio           characters, over all stages: p(true character) * V
    true_probability                            probability     characters, of one stage: p(true character)
    macro_f1                                    share           classes
    rmse                                        label's unit    numbers
    r_squared                                   share           numbers
    balanced_accuracy                           share           detectors
    auroc                                       probability     detectors
    calibration_error                           probability     detectors
    replaced_share                              share           detectors: replaced positions
    constant_loss                               nats            detectors: loss of the best constant
    constant_balanced_accuracy                  share           detectors: 0.5
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from masklab.training.events import Evaluation, EvaluationDone, Event, RolledBack, RunFinished, StepDone, StepSkipped

if TYPE_CHECKING:
    from masklab.likelihood.estimate import Estimate

TRAIN_LOSS, FINAL_LOSS, STAGE = "train/loss", "final/loss", "curriculum/stage"
SKIPPED_STEPS, ROLLBACKS = "stability/skipped_steps", "stability/rollbacks"
FINAL_NELBO = "final/nelbo_nats"
TRIAL_NELBO, BEST_NELBO = "trial/nelbo_nats", "best/nelbo_nats"
VAL_STAGE, PROGRESS = "val/stage_", "progress/"
_NOT_IN_NAMES = re.compile(r"[^\w\-.]+", re.ASCII)


def metrics_of(event: Event) -> dict[str, float]:
    """Metric name -> value; empty for an event without metrics."""
    match event:
        case StepDone():
            return _step_metrics(event)
        case EvaluationDone():
            return _evaluation_metrics(event.evaluation, "val") | _curriculum_metrics(event)
        case StepSkipped(skipped_steps=count):
            return {SKIPPED_STEPS: count}
        case RolledBack(number=count):
            return {ROLLBACKS: count}
        case RunFinished():
            return _evaluation_metrics(event.evaluation, "final") | _progress_metrics(event)
    return {}


def _step_metrics(event: StepDone) -> dict[str, float]:
    metrics = {
        TRAIN_LOSS: event.loss,
        "train/lr": event.learning_rate,
        "train/grad_norm": event.grad_norm,
        **_progress_metrics(event),
        "perf/chars_per_second": event.chars_per_second,
        "perf/data_wait_fraction": event.data_wait_fraction,
    }
    if event.overflows:
        metrics["stability/overflows"] = event.overflows
    return metrics if event.mfu is None else metrics | {"perf/mfu": event.mfu}


def _progress_metrics(event: StepDone | RunFinished) -> dict[str, float]:
    return {"progress/iters": event.iteration, "progress/chars": event.chars, "progress/masked_chars": event.masked_chars}


def _evaluation_metrics(evaluation: Evaluation, section: str) -> dict[str, float]:
    metrics = {"loss": evaluation.loss, "mask_ratio": evaluation.mask_ratio, "run_length": evaluation.run_length, **evaluation.metrics}
    if nelbo := evaluation.nelbo:
        metrics |= {"nelbo_nats": nelbo.nats, "nelbo_bpc": nelbo.bpc, "nelbo_stderr": nelbo.stderr}
    for number, score in enumerate(evaluation.stages):
        metrics |= stage_metrics(number, {"loss": score.loss, **score.metrics})
    return in_section(section, metrics)


def _curriculum_metrics(event: EvaluationDone) -> dict[str, float]:
    progress = event.progress
    metrics: dict[str, float] = {STAGE: progress.stage, "curriculum/stale_evals": progress.stale_evaluations}
    # a stage that has just begun has no best loss yet, and a database stores no infinity
    return metrics if math.isinf(progress.best_loss) else metrics | {"curriculum/best_loss": progress.best_loss}


def in_section(section: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """`metrics` with `section/` before each name."""
    return {f"{section}/{name}": value for name, value in metrics.items()}


def stage_metrics(number: int, metrics: Mapping[str, float]) -> dict[str, float]:
    """`metrics` of the validation stage `number`: stage_loss/00, ..."""
    return {f"stage_{name}/{number:02d}": value for name, value in metrics.items()}


def estimate_metrics(bound: str, estimate: Estimate) -> dict[str, float]:
    """A bound on the likelihood, or a difference of two, in nats and bits per character."""
    return {f"{bound}_nats": estimate.nats, f"{bound}_stderr": estimate.stderr, f"{bound}_bpc": estimate.bits}


def sampler_metrics(sampler: str, statistics: Mapping[str, float | None]) -> dict[str, float]:
    """The `statistics` of a sampler's texts, without those that are None. The statistic comes first, so that the UI groups samplers."""
    return {f"sampler_{name}/{_plain(sampler)}": value for name, value in statistics.items() if value is not None}


def evaluation_section(number: str, name: str) -> str:
    """The section of the evaluation in the output folder `number`, on the curriculum or dataset `name`: `evaluation/002-sticky`."""
    return f"evaluation/{number}-{_plain(name)}"


def arm_metric(arm: str) -> str:
    return f"nelbo_nats/{arm}"


def value_metrics(values: Mapping[str, float | str]) -> dict[str, float]:
    """The numbers among the searched values of a PBT trial."""
    return {f"values/{key}": float(value) for key, value in values.items() if not isinstance(value, str)}


def _plain(name: str) -> str:
    """`name` with `_` for what MLflow does not take: `remdm cap 0.02, 64 steps` -> `remdm_cap_0.02_64_steps`."""
    return _NOT_IN_NAMES.sub("_", name)
