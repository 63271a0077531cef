"""Made-up comparisons whose truth is known: the folders that a comparison leaves behind, with figures drawn around planted effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from masklab.comparison.arms import Arm, Arms, arms_of
from masklab.curriculum.controls import CONTROLS, UNIFORM
from masklab.curriculum.curriculum import Curriculum
from masklab.reporting.comparison.record import (
    ArmRecord,
    BudgetRecord,
    ComparisonRecord,
    CurveRecord,
    DwellRecord,
    LeftOutRecord,
    OutcomeRecord,
    RunRecord,
)
from masklab.reporting.run.history import EvaluationRecord, History
from masklab.training.settings import ObjectiveSettings

STAGED: dict[str, list[dict[str, Any]]] = {
    "rising": [{"type": "random", "max_ratio": 0.3, "max_share": 0.4}, {"type": "random", "max_ratio": 0.9}],
    "sticky": [
        {"type": "sticky", "mask_ratio": 0.2, "p_start": 0.3, "p_extend": 0.0, "max_share": 0.25},
        {"type": "sticky", "mask_ratio": 0.4, "p_start": 0.2, "p_extend": 0.8, "max_share": 0.25},
        {"type": "diffusion", "schedule": "linear"},
    ],
    "flat": [{"type": "random", "max_ratio": 0.8}],
}
PARAMETERS, FLOPS = 803_456, 5.2e6
FINISHED_AT = 1000


def staged(name: str, description: str = "Masks of a kind, and then of another.") -> Curriculum:
    """The curriculum `name` of `STAGED`."""
    return Curriculum.model_validate({"name": name, "description": description, "stages": STAGED[name]})


@dataclass(frozen=True)
class Story:
    """A comparison of `curricula` at 2,000,000 characters. `effects` plants an arm's NELBO above the baseline's, in nats."""

    curricula: tuple[Curriculum, ...] = (staged("rising"),)
    effects: Mapping[str, float] = field(default_factory=dict)
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    controls: tuple[str, ...] = tuple(CONTROLS)
    name: str = "story"
    noise: float = 0.002
    failed: Mapping[tuple[str, int], str] = field(default_factory=dict)
    waiting: tuple[int, ...] = ()
    margin: float = 0.0
    warnings: tuple[str, ...] = ()
    unit: str = "max_chars"

    @property
    def arms(self) -> Arms:
        """The compared curricula, their controls and the baseline."""
        objective = ObjectiveSettings()
        compared = [Arm(c.name, c, objective, c.description) for c in self.curricula]
        return arms_of(compared, Arm(UNIFORM.name, UNIFORM, objective, UNIFORM.description), self.controls, 1, 0.25)

    def write(self, folder: Path) -> ComparisonRecord:
        """Lay the comparison's files into `folder`."""
        arms = self.arms
        record = self._record(arms)
        for run in record.runs:
            if run.outcome and run.outcome.nelbo_nats is not None:
                arm, place = next(arm for arm in arms.arms if arm.name == run.arm), folder / run.folder
                self._history(arm, run).write(place)
                _curve(run).write(place)
        record.write(folder)
        return record

    def _record(self, arms: Arms) -> ComparisonRecord:
        return ComparisonRecord(
            name=self.name,
            baseline=arms.baseline,
            budget=BudgetRecord.model_validate({"unit": self.unit, "amount": 2e6, "chars": 2_000_000}),
            margin=self.margin,
            seeds=self.seeds,
            arms=tuple(_arm_record(arm) for arm in arms.arms),
            left_out=tuple(LeftOutRecord.model_validate(vars(left_out)) for left_out in arms.left_out),
            validation=tuple(stage.masking.describe() for stage in arms.arms[0].curriculum.pools),
            runs=tuple(self._run(arm, seed) for seed in self.seeds for arm in arms.arms),
            dataset="python_docs",
            corpus_fingerprint="ab" * 32,
            pools_digest="cd" * 32,
            yardstick_sequences=512,
            vocabulary_size=96,
            block_size=128,
            parameters=PARAMETERS,
            flops_per_char=FLOPS,
            versions={"masklab": "0.1", "torch": "2.13.0"},
            git_commit="c0ffee" * 6,
            commands=("python jobs/compare.py 'compare.curricula=[rising,sticky]' compare.budget.max_chars=2000000",),
            mlflow_run_id=None,
            browse=None,
        )

    def _run(self, arm: Arm, seed: int) -> RunRecord:
        run = RunRecord(arm=arm.name, seed=seed, folder=f"arms/{arm.name}/seed-{seed}")
        if reason := self.failed.get((arm.name, seed)):
            return run.model_copy(update={"status": "failed", "reason": reason})
        if seed in self.waiting:
            return run
        nats = self.nelbo(arm.name, seed)
        return run.model_copy(update={"status": "finished", "outcome": _outcome(arm, seed, nats, self.warnings)})

    def nelbo(self, arm: str, seed: int) -> float:
        """The final figure: what the seed does to all arms, the arm's effect, and noise of the run's own."""
        rng = np.random.default_rng([seed, sum(arm.encode())])
        shared = 2.2 + 0.03 * np.random.default_rng(seed).standard_normal()
        return float(shared + self.effects.get(arm, 0.0) + self.noise * rng.standard_normal())

    def _history(self, arm: Arm, run: RunRecord) -> History:
        assert run.outcome and run.outcome.nelbo_nats is not None
        rng = np.random.default_rng([run.seed, 7, sum(arm.name.encode())])
        ends = np.cumsum([dwell.iterations for dwell in run.outcome.dwell])
        pools, evaluations = len(arm.curriculum.pools), []
        for i in range(1, 21):
            iteration = i * FINISHED_AT // 20
            stage = int(np.searchsorted(ends, iteration - 1, side="right"))
            nats = run.outcome.nelbo_nats + 1.1 * (np.exp(-i / 4) - np.exp(-5)) + 0.003 * rng.standard_normal()
            losses = [0.8 * nats + 0.12 * abs(stage - pool) + 0.2 * pool for pool in range(pools)]
            evaluations.append(
                EvaluationRecord(
                    iteration=iteration,
                    stage=min(stage, len(ends) - 1),
                    train_loss=nats,
                    loss=float(np.mean(losses)),
                    stage_losses=tuple(losses),
                    nelbo_nats=float(nats),
                    chars=iteration * 2000,
                    masked_chars=iteration * 900,
                    elapsed_seconds=iteration * 0.2,
                )
            )
        return History(evaluations=tuple(evaluations))


def realistic(name: str = "story") -> Story:
    """Two curricula with all their controls, one ahead and one not."""
    effects = {"rising": 0.03, "rising-reversed": 0.05, "rising-shuffled": 0.05, "rising-mixture": 0.03, "rising-last_only": 0.02}
    effects |= {"sticky": -0.02, "sticky-shuffled": 0.01, "sticky-reversed": 0.03, "sticky-mixture": -0.019}
    return Story((staged("rising"), staged("sticky")), effects, name=name)


def with_arm_words(story: Story, words: str) -> Story:
    """The story with `words` for every curriculum's description."""
    return replace(story, curricula=tuple(c.model_copy(update={"description": words}) for c in story.curricula))


def _arm_record(arm: Arm) -> ArmRecord:
    return ArmRecord(
        name=arm.name,
        description=arm.description,
        control=arm.control,
        question=CONTROLS[arm.control].description if arm.control else None,
        controls_for=arm.controls_for,
        curriculum=arm.curriculum.model_dump(mode="json"),
        objective=arm.objective.model_dump(mode="json"),
    )


def _outcome(arm: Arm, seed: int, nats: float, warnings: Sequence[str]) -> OutcomeRecord:
    stages = arm.curriculum.stages if arm.curriculum.mixing != "all" else arm.curriculum.stages[:1]
    cut = np.linspace(0, FINISHED_AT, len(stages) + 1).astype(int)
    cut[1:-1] += 10 * (seed % 3)
    reasons = [*["5 evaluations without improvement"] * (len(stages) - 1), "the budget is spent"]
    parts = zip(stages, np.diff(cut).tolist(), reasons, strict=True)
    masked = round(900_000 * (1 + 0.1 * len(stages)))
    return OutcomeRecord(
        nelbo_nats=nats,
        nelbo_stderr=0.006,
        nelbo_bpc=None if nats is None else nats / float(np.log(2)),
        iterations=FINISHED_AT,
        chars=2_000_000,
        masked_chars=masked,
        flops=2e6 * FLOPS,
        train_seconds=187.0 + seed,
        parameters=PARAMETERS,
        device="cpu",
        batches_digest=f"{seed:02x}" * 32,
        checkpoint=None,
        dwell=tuple(DwellRecord(title=s.masking.describe(), iterations=n, reason=reason) for s, n, reason in parts),
        warnings=tuple(warnings),
    )


def _curve(run: RunRecord) -> CurveRecord:
    assert run.outcome and run.outcome.nelbo_nats is not None
    ratios = np.arange(1, 9) / 8
    losses = run.outcome.nelbo_nats - 0.9 + 1.3 * ratios**2 + 0.004 * np.random.default_rng(run.seed).standard_normal(8)
    return CurveRecord(
        mask_ratio=tuple(ratios.tolist()),
        cross_entropy=tuple(losses.tolist()),
        cross_entropy_stderr=(0.01,) * 8,
        accuracy=tuple((0.7 - 0.5 * ratios).tolist()),
        accuracy_stderr=(0.01,) * 8,
        windows=128,
    )
