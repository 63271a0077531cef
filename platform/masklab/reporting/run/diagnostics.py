"""Warnings about a run, with the numbers and a remedy, each kind once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from masklab.reporting.run.run_info import RunInfo
from masklab.training.events import Evaluation, EvaluationDone, Event, RunFinished, RunStarted, StageAdvanced, StepDone

FAIR_ITERATIONS = 300
WEAK_MODEL = 2.0
RATIO_TOLERANCE = 0.02
RATIO_ITERATIONS = 20
WIDENING_EVALUATIONS = 3
WIDENING_NATS = 0.1
MANY_SKIPPED = 0.01
"""Share of the steps."""
RATIO_HOLE = 0.2
"""Mask ratios this far from any that was trained are another task to the model; neighbours closer than that are not."""

CURE = "end the curriculum with a stage {type: diffusion}"


@dataclass(frozen=True)
class RunWarning:
    """One warning; each `kind` is given once per run."""

    kind: str
    iteration: int
    words: str


def ratio_holes(ranges: list[tuple[float, float]], width: float = RATIO_HOLE) -> list[tuple[float, float]]:
    """The intervals of [0, 1], wider than `width`, that the union of closed `ranges` leaves out, in ascending order."""
    holes, covered = [], 0.0
    for low, high in [*sorted(ranges), (1.0, 1.0)]:
        if low - covered > width + 1e-9:
            holes.append((covered, low))
        covered = max(covered, high)
    return holes


class Diagnostics:
    """Watches one run's events. `check` has no effect beyond its own memory."""

    def __init__(self, info: RunInfo) -> None:
        self._info = info
        self._said: set[str] = set()
        self._announced_holes: list[tuple[float, float]] = []
        self._ratio_sum = 0.0
        self._ratio_iterations = 0
        self._last_step: StepDone | None = None
        self._gaps: list[float] = []
        self._stage_began_at = 0
        self._out_of_reach = self._untrained(min(info.unreachable, default=len(info.stages)) - 1)

    def check(self, event: Event) -> tuple[RunWarning, ...]:
        """The new warnings that this event gives rise to."""
        if isinstance(event, RunStarted):
            found = [self._holes_of_the_plan(), self._progression_without_effect(), self._stages_out_of_reach()]
        elif isinstance(event, StepDone):
            found = [_not_finite(event.loss), self._ratio_off_target(event)]
        elif isinstance(event, EvaluationDone):
            found = [
                _not_finite(event.evaluation.loss),
                _weak_model(event.evaluation.metrics.get("model_vs_random"), event.iteration, FAIR_ITERATIONS),
                self._stage_without_end(event),
                self._widening_gap(event),
            ]
        elif isinstance(event, RunFinished):
            found = [
                _not_finite(event.evaluation.loss),
                _weak_model(event.evaluation.metrics.get("model_vs_random"), event.iteration, FAIR_ITERATIONS // 3),
                _no_better_than_a_constant(event.evaluation),
                self._ended_before_an_evaluation(event),
                self._stages_never_reached(event),
                _skipped_steps(event),
                self._holes_of_the_training(event),
            ]
        else:
            if isinstance(event, StageAdvanced):
                self._stage_began_at = event.iteration
            return ()
        fresh = [(kind, words) for kind, words in filter(None, found) if kind not in self._said]
        self._said.update(kind for kind, _ in fresh)
        return tuple(RunWarning(kind, event.iteration, words) for kind, words in fresh)

    def _ratio_off_target(self, event: StepDone) -> tuple[str, str] | None:
        """The mean realised ratio of the current stage against its target; a window across two stages does not count."""
        if not self._info.fills_masks:
            return None  # the counted positions are not the masked ones
        last, self._last_step = self._last_step, event
        if last is None or last.stage != event.stage:
            self._ratio_sum, self._ratio_iterations = 0.0, 0
            return None
        iterations = event.iteration - last.iteration
        self._ratio_sum += event.mask_ratio * iterations
        self._ratio_iterations += iterations
        if self._ratio_iterations < RATIO_ITERATIONS:
            return None
        realised, target = self._ratio_sum / self._ratio_iterations, self._info.target_ratio(event.stage)
        if abs(realised - target) <= RATIO_TOLERANCE + 0.05 * target:
            return None
        return "mask_ratio", (
            f"stage {event.stage} masks {realised:.1%} of the characters, not the {target:.1%} it aims at "
            f"(mean of {self._ratio_iterations} iterations); check the stage's masking and training.block_size"
        )

    def _stage_without_end(self, event: EvaluationDone) -> tuple[str, str] | None:
        stages = self._info.stages
        if len(stages) == 1 or event.progress.stage > 0 or event.budget_used <= 0.5:
            return None
        return "slow_stage", (
            f"{event.budget_used:.0%} of the budget is spent and stage 0 of {len(stages)} has not ended "
            f"(stale evaluations so far: {event.progress.stale_evaluations}); "
            "lower curriculum.patience, set max_share or max_iters on the stage, or use curriculum.advance_on=current_stage"
        )

    def _ended_before_an_evaluation(self, event: RunFinished) -> tuple[str, str] | None:
        every = self._info.eval_interval
        if event.iteration >= every:
            return None
        return "no_evaluation", (
            f"the budget was spent after {event.iteration} iterations, before the first evaluation at {every}: there is no learning curve, "
            "and no stage could end; lower training.eval_interval, or give a larger budget"
        )

    def _stages_out_of_reach(self) -> tuple[str, str] | None:
        missed = self._out_of_reach
        if not missed:
            return None
        return "unreachable_stages", (
            f"{self._named(missed)} cannot begin within the budget: stages end at evaluations only, every {self._info.eval_interval} "
            "iterations; lower training.eval_interval, end the stages before sooner, or give a larger budget"
        )

    def _stages_never_reached(self, event: RunFinished) -> tuple[str, str] | None:
        missed = self._untrained(self._last_trained(event))
        if not missed or missed == self._out_of_reach:
            return None
        if event.stage in missed:
            return "unreached_stages", (
                f"{self._named(missed)} got no iterations: stage {event.stage} began at iteration {event.iteration}, where the run ended, "
                f"since stages end at evaluations only, every {self._info.eval_interval} iterations; lower training.eval_interval, "
                "end the stages before sooner, or give a larger budget"
            )
        return "unreached_stages", (
            f"the run ended in stage {event.stage} and never reached {self._named(missed)}; "
            "lower curriculum.patience, set max_share on the stages, or give a larger budget"
        )

    def _last_trained(self, event: RunFinished) -> int:
        """The last stage that a step was taken in; one that begins as the run ends is not trained."""
        began_at_the_end = 0 < self._stage_began_at == event.iteration
        return event.stage - 1 if began_at_the_end else event.stage

    def _untrained(self, last: int) -> tuple[int, ...]:
        """The stages whose masks no batch has had, if `last` is the last one that was current."""
        trained = {s for stage in range(last + 1) for s in self._info.mixed[stage]}
        return tuple(s for s in range(len(self._info.stages)) if s not in trained)

    def _named(self, stages: Sequence[int]) -> str:
        names = ", ".join(f"{s} ({self._info.stages[s].title})" for s in stages)
        return f"stage{'s' if len(stages) > 1 else ''} {names}"

    def _widening_gap(self, event: EvaluationDone) -> tuple[str, str] | None:
        """Validation above training loss, on the same masks, and further so at each of several evaluations of one stage."""
        losses = [score.loss for score in event.evaluation.stages]
        if self._info.pools_match_stages():
            losses = [losses[s] for s in self._info.mixed[event.stage]]
        validation = sum(losses) / len(losses)
        self._gaps = [*self._gaps, validation - event.train_loss][-WIDENING_EVALUATIONS - 1 :]
        if event.progress.stage != event.stage:
            self._gaps = []
            return None
        rises = all(a < b for a, b in pairwise(self._gaps))
        widened = self._gaps[-1] - self._gaps[0]
        if len(self._gaps) <= WIDENING_EVALUATIONS or not rises or widened < WIDENING_NATS or self._gaps[-1] < WIDENING_NATS:
            return None
        return "widening_gap", (
            f"validation loss {validation:.3f} is {self._gaps[-1]:.3f} nats above training loss {event.train_loss:.3f}, {widened:.3f} more "
            f"than {WIDENING_EVALUATIONS} evaluations ago: the model memorises its text; use more text, a smaller model, "
            "model.dropout, or a smaller budget"
        )

    def _holes_of_the_plan(self) -> tuple[str, str] | None:
        self._announced_holes = self._holes(range(len(self._info.stages)))
        if not self._announced_holes:
            return None
        return "untrained_ratios_planned", f"no stage of this curriculum trains {_hole_words(self._announced_holes)}; " + CURE

    def _holes(self, stages: Iterable[int]) -> list[tuple[float, float]]:
        """Mask ratios that none of `stages` trains, where a likelihood, or generation, would need them."""
        if not self._info.fills_masks:
            return []
        return ratio_holes([self._info.stages[s].ratio_range for s in stages])

    def _progression_without_effect(self) -> tuple[str, str] | None:
        mixed = self._info.mixed
        if len(mixed) < 2 or any(stages != mixed[0] for stages in mixed):
            return None
        return (
            "cosmetic_progression",
            "mixing=all trains every stage at all times, so going from stage to stage changes nothing but a number",
        )

    def _holes_of_the_training(self, event: RunFinished) -> tuple[str, str] | None:
        trained = {s for stage in range(self._last_trained(event) + 1) for s in self._info.mixed[stage]}
        holes = self._holes(sorted(trained))
        if not holes or holes == self._announced_holes:
            return None
        cure = CURE if self._announced_holes else "see that the later stages are reached within the budget"
        return "untrained_ratios", f"no stage that ran has trained {_hole_words(holes)}; {cure}"


def _hole_words(holes: list[tuple[float, float]]) -> str:
    shown = " or ".join(f"{low:.0%} to {high:.0%}" for low, high in holes)
    if holes[-1][1] < 1:
        return f"mask ratios of {shown}; likelihood averages over all of them, so the NELBO suffers there"
    return (
        f"mask ratios of {shown}; generation starts fully masked, where such a model is worse than letter frequencies, "
        "and the NELBO counts it"
    )


def _weak_model(model_vs_random: float | None, iteration: int, fair: int) -> tuple[str, str] | None:
    if model_vs_random is None or iteration < fair or not model_vs_random < WEAK_MODEL:
        return None
    return "weak_model", (
        f"after {iteration} iterations the true character is only {model_vs_random:.2f} times as probable as by chance "
        f"({WEAK_MODEL:g} is low, 5 is usual); try another training.learning_rate, a longer training.warmup_iters or less masking"
    )


def _no_better_than_a_constant(evaluation: Evaluation) -> tuple[str, str] | None:
    """A classifier, detector or regressor that does not beat the most frequent class, one half, or the mean."""
    metrics = evaluation.metrics
    if evaluation.confusion:
        rows = [sum(row) for row in evaluation.confusion]
        value, constant, baseline = metrics["accuracy"], max(rows) / sum(rows), "accuracy, the share of the most frequent class"
    elif "balanced_accuracy" in metrics:
        value, constant, baseline = metrics["balanced_accuracy"], 0.5, "balanced accuracy of a constant"
    elif "r_squared" in metrics:
        value, constant, baseline = metrics["r_squared"], 0.0, "R² of the mean"
    else:
        return None
    if value > constant:
        return None
    return "no_better_than_a_constant", (
        f"the model is no better than a constant answer ({value:.3f}, where {constant:.3f} is the {baseline}); "
        "try another training.learning_rate, a larger budget, or transfer.init_checkpoint"
    )


def _skipped_steps(event: RunFinished) -> tuple[str, str] | None:
    """Skipped steps; if there are many, or the run went back to earlier weights, with a remedy."""
    stability = event.stability
    if not stability.skipped_steps:
        return None
    skipped, first, times = stability.skipped_steps, stability.skips[0], len(stability.rollbacks)
    words = f"{skipped:,} of {event.iteration:,} steps changed no weight, first the {first.batches}: {first.words}"
    if times:
        words += f"; the run went back to earlier weights {times} time{'' if times == 1 else 's'}"
    if times or skipped > MANY_SKIPPED * event.iteration:
        words += "; lower training.learning_rate, lengthen training.warmup_iters, or use system.dtype=float32"
    return "skipped_steps", words


def _not_finite(loss: float) -> tuple[str, str] | None:
    if math.isfinite(loss):
        return None
    return "not_finite", (
        f"the loss is {loss:g}: training has diverged; lower training.learning_rate, lengthen training.warmup_iters, "
        "or use system.dtype=float32"
    )
