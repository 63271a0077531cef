"""The findings of a comparison: its record, the files of its runs, and their statistics.

Shapes: S stages trained, P pools scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from masklab.comparison.contrast import Contrast, contrasts
from masklab.comparison.curves import Curve
from masklab.comparison.outcomes import Floats, Outcomes
from masklab.comparison.stage_matrix import PoolLosses, stage_matrix
from masklab.curriculum.controls import CONTROLS
from masklab.errors import RunError, UserError
from masklab.reporting.comparison.record import ArmRecord, ComparisonRecord, CurveRecord, RunRecord
from masklab.reporting.run.history import EvaluationRecord, History


@dataclass(frozen=True)
class Pair:
    """`arm` against `baseline`. `contrast` is None where it cannot be computed, and `missing` gives the reason."""

    arm: str
    baseline: str
    contrast: Contrast | None
    missing: str = ""


@dataclass(frozen=True)
class Family:
    """Pairs whose tests are corrected together."""

    title: str
    pairs: tuple[Pair, ...]

    @property
    def tested(self) -> tuple[Contrast, ...]:
        return tuple(pair.contrast for pair in self.pairs if pair.contrast)


@dataclass(frozen=True)
class ControlArm:
    """The arm that serves as a `control` of a curriculum: its own, or another that is trained identically."""

    control: str
    arm: str


@dataclass(frozen=True)
class Group:
    """A compared curriculum with its controls."""

    curriculum: str
    controls: tuple[ControlArm, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.curriculum, *(control.arm for control in self.controls))))


def groups_of(record: ComparisonRecord) -> tuple[Group, ...]:
    """The compared curricula in their order, without the baseline."""
    compared = [arm.name for arm in record.arms if arm.control is None and arm.name != record.baseline]
    return tuple(Group(name, tuple(_controls(record, name))) for name in compared)


def families_of(record: ComparisonRecord, outcomes: Outcomes) -> tuple[Family, Family, Family]:
    """Curricula against the baseline, curricula against their controls, controls against the baseline."""
    groups, baseline = groups_of(record), record.baseline
    against = f"against {baseline or 'the baseline'}"
    own = [(group.curriculum, arm) for group in groups for arm in group.arms if arm not in (group.curriculum, baseline)]
    compared = [group.curriculum for group in groups]
    controls = [arm.name for arm in record.arms if arm.name not in (*compared, baseline)]
    return (
        _family(f"Curricula {against}", outcomes, [(arm, baseline) for arm in compared if baseline], record.margin),
        _family("Curricula against their controls", outcomes, own, record.margin),
        _family(f"Controls {against}", outcomes, [(arm, baseline) for arm in controls if baseline], record.margin),
    )


def _controls(record: ComparisonRecord, curriculum: str) -> Iterable[ControlArm]:
    own = {arm.control: arm.name for arm in record.arms if arm.controls_for == curriculum}
    alike = {x.control: x.same_as for x in record.left_out if x.controls_for == curriculum and x.same_as != curriculum}
    for control in CONTROLS:
        if arm := own.get(control) or alike.get(control):
            yield ControlArm(control, arm)


def _family(title: str, outcomes: Outcomes, pairs: list[tuple[str, str]], margin: float) -> Family:
    missing = {pair: words for pair in pairs if (words := _why_not(outcomes, *pair))}
    able = [pair for pair in pairs if pair not in missing]
    found = dict(zip(able, contrasts(outcomes, able, margin=margin), strict=True))
    return Family(title, tuple(Pair(*pair, found.get(pair), missing.get(pair, "")) for pair in pairs))


def _why_not(outcomes: Outcomes, arm: str, baseline: str) -> str:
    try:
        outcomes.difference(arm, baseline)
    except UserError as reason:
        return str(reason)
    return ""


Curves = Mapping[str, Mapping[int, Curve]]
"""A curve by arm and seed; arms without any are left out."""
Points = Sequence[tuple[float | None, float | None]]
SPENT = {"max_masked_chars": "masked characters", "max_minutes": "seconds"}
"""The x axis of learning curves, where it is not characters."""


@dataclass(frozen=True)
class RunFiles:
    """The files of a run; `unread` holds the errors of those that could not be read."""

    history: History
    curve: CurveRecord | None
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class Findings:
    """A comparison's record and, by arm and seed, the files of each run that has a final NELBO."""

    record: ComparisonRecord
    files: Mapping[tuple[str, int], RunFiles]

    @classmethod
    def read(cls, folder: Path) -> Findings:
        """The comparison in `folder`. Raises RunError if there is none or its record is damaged."""
        record = ComparisonRecord.read(folder)
        return cls(record, {(run.arm, run.seed): _files(folder / run.folder) for run in record.runs if finished(run)})

    @cached_property
    def outcomes(self) -> Outcomes:
        return Outcomes.of(self.record.nelbos())

    @cached_property
    def families(self) -> tuple[Family, Family, Family]:
        return families_of(self.record, self.outcomes)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        return groups_of(self.record)

    def pair(self, arm: str, baseline: str) -> Pair | None:
        """The pair of two arms, with the correction of its own family."""
        pairs = (pair for family in self.families for pair in family.pairs)
        return next((pair for pair in pairs if (pair.arm, pair.baseline) == (arm, baseline)), None)

    def arm(self, name: str) -> ArmRecord:
        return next(arm for arm in self.record.arms if arm.name == name)

    def finished_runs(self, arm: str) -> tuple[RunRecord, ...]:
        return tuple(run for run in self.record.runs if run.arm == arm and finished(run))

    @property
    def spent(self) -> str:
        """The x axis of learning curves: the quantity that the budget limits."""
        return SPENT.get(self.record.budget.unit, "characters")

    @cached_property
    def learning_curves(self) -> Curves:
        """NELBO (nats per character) at each evaluation over `spent`."""
        return self._curves(lambda files: [(self._spent_at(e), e.nelbo_nats) for e in files.history.evaluations])

    @cached_property
    def mask_ratio_curves(self) -> Curves:
        """Cross-entropy (nats per masked character) of the final weights over the share of masked positions."""
        return self._curves(lambda files: list(zip(files.curve.mask_ratio, files.curve.cross_entropy, strict=True)) if files.curve else [])

    def stage_changes(self, arm: str) -> Floats | None:
        """Change of each pool's loss during each stage (S, P), mean over seeds; NaN where no seed has a value.

        None for an arm with one stage, or with mixing=all.
        """
        stages = self.arm(arm).curriculum["stages"]
        if len(stages) < 2 or self.arm(arm).curriculum["mixing"] == "all":
            return None
        runs = [files.history.evaluations for (name, _), files in sorted(self.files.items()) if name == arm]
        losses = [[PoolLosses(e.iteration, e.chars, e.stage, e.stage_losses) for e in run] for run in runs if run]
        if not losses:
            return None
        changes = np.stack([stage_matrix(evaluations, len(stages)).change for evaluations in losses])
        mean: Floats = np.ma.masked_invalid(changes).mean(axis=0).filled(np.nan)
        return mean

    def _spent_at(self, evaluation: EvaluationRecord) -> float | None:
        return {"masked characters": evaluation.masked_chars, "seconds": evaluation.elapsed_seconds}.get(self.spent, evaluation.chars)

    def _curves(self, points: Callable[[RunFiles], Points]) -> Curves:
        found = {(arm, seed): curve for (arm, seed), files in self.files.items() if (curve := _curve(points(files)))}
        by_arm = {arm.name: {seed: curve for (name, seed), curve in found.items() if name == arm.name} for arm in self.record.arms}
        return {arm: dict(sorted(curves.items())) for arm, curves in by_arm.items() if curves}


def finished(run: RunRecord) -> bool:
    """Whether the run has a final NELBO."""
    return run.status == "finished" and run.outcome is not None and run.outcome.nelbo_nats is not None


def _curve(points: Points) -> Curve | None:
    """None without a finite point, or if the budget does not rise (an edited file)."""
    try:
        return Curve.of([(spent, value) for spent, value in points if spent is not None])
    except UserError:
        return None


def _files(run: Path) -> RunFiles:
    """The readable files of a run; a damaged one does not stop the report."""
    history, curve, unread = History(), None, []
    try:
        history = History.read(run)
    except RunError as error:
        unread.append(str(error))
    try:
        curve = CurveRecord.read(run) if (run / CurveRecord.FILE).exists() else None
    except RunError as error:
        unread.append(str(error))
    return RunFiles(history, curve, tuple(unread))
