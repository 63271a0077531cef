"""A sweep as its folder keeps it: `sweep.json`, rewritten whole whenever a trial begins or ends.

sweep.json                   what is searched, and what became of each trial
trials/NNN/                  one trial: config.yaml, history.json (learning curve), summary.json, checkpoints/

Figures are in nats per character unless they say otherwise, times in seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from masklab.errors import RunError
from masklab.text.atomic_file import write_text
from masklab.tracking.history import Number, Record
from masklab.tracking.summary import RunSummary

FILE = "sweep.json"
TrialStatus = Literal["waiting", "running", "finished", "stopped", "failed", "interrupted"]
"""`stopped` is a trial that was ended early, since others were better; `interrupted` one that goes on with the sweep."""


class TrialRecord(Record):
    """One trial: its `values` by key, and the last figures that are known of it, the final ones once it is finished."""

    number: int
    values: dict[str, int | float | str]
    curriculum: str
    status: TrialStatus = "waiting"
    reason: str = ""
    """Why it failed."""
    nelbo_nats: Number = None
    nelbo_stderr: Number = None
    nelbo_bpc: Number = None
    iterations: int = 0
    chars: int = 0
    train_seconds: Number = None
    wall_seconds: Number = None
    """From when the driver began it to its end; None unless it was trained from first to last in one go."""
    loop_seconds: Number = None
    """What of that its loop took, final figures included."""

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.number:03d}"

    @property
    def overhead_seconds(self) -> float | None:
        """What it took beside its loop: to start its process, to report, to end."""
        return None if self.wall_seconds is None or self.loop_seconds is None else self.wall_seconds - self.loop_seconds

    def described(self) -> str:
        """E.g. `training.learning_rate=0.003 curriculum=sticky`."""
        return " ".join(f"{key}={value}" for key, value in self.values.items())

    def with_summary(self, summary: RunSummary) -> TrialRecord:
        """The record of the trial once it has ended so: failed where its final NELBO is no number."""
        diverged = summary.nelbo.nats is None
        return self.model_copy(
            update={
                "status": "failed" if diverged else "finished",
                "reason": "it diverged: its final NELBO is not a number" if diverged else "",
                "nelbo_nats": summary.nelbo.nats,
                "nelbo_stderr": summary.nelbo.stderr,
                "nelbo_bpc": summary.nelbo.bpc,
                "iterations": summary.iterations,
                "chars": summary.chars,
                "train_seconds": summary.train_seconds,
            }
        )


class SweepRecord(Record):
    """A sweep, whole or on its way."""

    format: Literal[1] = 1
    name: str
    search: str
    space: dict[str, str]
    budget: str
    """What each trial may spend, in words."""
    trials: tuple[TrialRecord, ...]
    dataset: str
    corpus_fingerprint: str
    versions: dict[str, str]
    git_commit: str | None
    retrain: str | None
    """The command that trains the best trial again, as a run of its own."""
    commands: tuple[str, ...]
    """The command lines that trained a part of it, first to last."""
    mlflow_run_id: str | None
    browse: str | None

    def with_trial(self, trial: TrialRecord) -> SweepRecord:
        """A copy in which `trial` takes the place of what was known of it, or comes last."""
        known = {each.number: each for each in self.trials} | {trial.number: trial}
        return self.model_copy(update={"trials": tuple(known[number] for number in sorted(known))})

    @property
    def ranked(self) -> tuple[TrialRecord, ...]:
        """The finished trials, best first."""
        finished = [(trial.nelbo_nats, trial) for trial in self.trials if trial.status == "finished" and trial.nelbo_nats is not None]
        return tuple(trial for _, trial in sorted(finished, key=lambda pair: (pair[0], pair[1].number)))

    @property
    def best(self) -> TrialRecord | None:
        """The finished trial with the lowest final NELBO."""
        return next(iter(self.ranked), None)

    def write(self, folder: Path) -> None:
        """Write `sweep.json`, whole or not at all."""
        write_text(folder / FILE, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> SweepRecord:
        """The record in `folder`. Raises RunError when there is none, or a damaged one."""
        path = folder / FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read ({type(error).__name__}); remove it and give the sweep's command again") from error
