"""A comparison as its folder keeps it: `comparison.json`, from which a report is written without training anything.

comparison.json              the arms, and the final metrics of each run
arms/ARM/seed-N/             one run: config.yaml, history.json (learning curve), summary.json, curve.json, checkpoints/

Figures are in nats per character unless they say otherwise, times in seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from masklab.errors import RunError
from masklab.io.json_record import JsonRecord, Number, Record
from masklab.io.redaction import redact
from masklab.reporting.run.summary import RunSummary

if TYPE_CHECKING:
    from masklab.likelihood.mask_ratio_curve import MaskRatioCurve

RunStatus = Literal["waiting", "running", "finished", "failed", "interrupted"]


class ArmRecord(Record):
    """An arm. `controls_for` names the curriculum that it is a control of; None for a compared curriculum and for the baseline."""

    name: str
    description: str
    control: str | None
    question: str | None
    """The question that a control answers."""
    controls_for: str | None
    curriculum: dict[str, Any]
    objective: dict[str, Any]


class LeftOutRecord(Record):
    """A control that has no arm of its own; `same_as` names the arm that is trained identically, if there is one."""

    control: str
    controls_for: str
    reason: str
    same_as: str | None


class BudgetRecord(Record):
    """The budget of each run; `chars` is a budget in floating-point operations, converted to characters."""

    unit: Literal["max_chars", "max_masked_chars", "max_flops", "max_minutes"]
    amount: float
    chars: int | None


class DwellRecord(Record):
    """How long a stage was trained and why it ended; 0 iterations if it was never reached."""

    title: str
    iterations: int
    reason: str


class OutcomeRecord(Record):
    """The final metrics of a finished run."""

    nelbo_nats: Number
    nelbo_stderr: Number
    nelbo_bpc: Number
    iterations: int
    chars: int
    masked_chars: int
    flops: Number
    train_seconds: Number
    parameters: int
    device: str
    batches_digest: str
    checkpoint: str | None
    dwell: tuple[DwellRecord, ...]
    warnings: tuple[str, ...] = Field(alias="troubles")

    @classmethod
    def of(cls, summary: RunSummary) -> OutcomeRecord:
        return cls(
            nelbo_nats=summary.yardstick.nats,
            nelbo_stderr=summary.yardstick.stderr,
            nelbo_bpc=summary.yardstick.bpc,
            iterations=summary.iterations,
            chars=summary.chars,
            masked_chars=summary.masked_chars,
            flops=None if summary.flops_per_char is None else summary.flops_per_char * summary.chars,
            train_seconds=summary.train_seconds,
            parameters=summary.parameters,
            device=summary.device,
            batches_digest=summary.batches_digest,
            checkpoint=summary.checkpoint,
            dwell=tuple(
                DwellRecord(title=s.title, iterations=(s.ended_at or 0) - (s.began_at or 0), reason=s.reason) for s in summary.stages
            ),
            warnings=summary.warnings,
        )


class RunRecord(Record):
    """One arm with one seed. `folder` is relative to the comparison's; `reason` is the error of a failed run."""

    arm: str
    seed: int
    folder: str
    status: RunStatus = "waiting"
    reason: str = ""
    outcome: OutcomeRecord | None = None


class ComparisonRecord(JsonRecord):
    FILE: ClassVar[str] = "comparison.json"
    REMEDY: ClassVar[str] = "remove it and give the comparison's command again"

    format: Literal[1] = 1
    name: str
    baseline: str | None
    """The arm that the others are compared with."""
    budget: BudgetRecord
    margin: float
    seeds: tuple[int, ...]
    arms: tuple[ArmRecord, ...]
    left_out: tuple[LeftOutRecord, ...]
    validation: tuple[str, ...]
    """The validation stages that all arms score, in words, in the order of the losses in `history.json`."""
    runs: tuple[RunRecord, ...]
    dataset: str
    corpus_fingerprint: str
    pools_digest: str
    yardstick_sequences: int
    vocabulary_size: int
    block_size: int
    parameters: int
    flops_per_char: float
    versions: dict[str, str]
    git_commit: str | None
    commands: tuple[str, ...]
    """The command lines that trained a part of it, first to last."""
    mlflow_run_id: str | None
    browse: str | None

    def with_run(self, run: RunRecord) -> ComparisonRecord:
        return self.model_copy(update={"runs": tuple(run if (r.arm, r.seed) == (run.arm, run.seed) else r for r in self.runs)})

    def nelbos(self) -> dict[str, dict[int, float | None]]:
        """The final NELBO by arm and seed, nats per character; None for an unfinished run."""
        table: dict[str, dict[int, float | None]] = {arm.name: {} for arm in self.arms}
        for run in self.runs:
            finished = run.outcome if run.status == "finished" else None
            table[run.arm][run.seed] = finished.nelbo_nats if finished else None
        return table

    def to_text(self) -> str:
        return redact(super().to_text())

    @classmethod
    def read(cls, folder: Path) -> ComparisonRecord:
        """The record in `folder`. Raises RunError if there is none or it is damaged."""
        if not (folder / cls.FILE).is_file():
            raise RunError(f"{folder} holds no {cls.FILE}, so it is not a comparison; name one that jobs/compare.py has made")
        return super().read(folder)


class CurveRecord(JsonRecord):
    """Cross-entropy (nats per masked character) and accuracy of the final weights by share of masked positions."""

    FILE: ClassVar[str] = "curve.json"
    REMEDY: ClassVar[str] = "remove it"

    mask_ratio: tuple[float, ...]
    cross_entropy: tuple[Number, ...]
    cross_entropy_stderr: tuple[Number, ...]
    accuracy: tuple[Number, ...]
    accuracy_stderr: tuple[Number, ...]
    windows: int

    @classmethod
    def of(cls, curve: MaskRatioCurve) -> CurveRecord:
        return cls(
            mask_ratio=tuple(curve.mask_ratio.tolist()),
            cross_entropy=tuple(curve.cross_entropy.tolist()),
            cross_entropy_stderr=tuple(curve.cross_entropy_stderr.tolist()),
            accuracy=tuple(curve.accuracy.tolist()),
            accuracy_stderr=tuple(curve.accuracy_stderr.tolist()),
            windows=curve.cross_entropies.shape[1],
        )
