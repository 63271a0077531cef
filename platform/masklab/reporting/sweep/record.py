"""A sweep as its folder keeps it: `sweep.json`, rewritten whole whenever a trial begins or ends.

sweep.json                   the search and the record of each trial
trials/NNN/                  one trial: config.yaml, history.json (learning curve), summary.json, checkpoints/

Figures are in nats per character unless they say otherwise, times in seconds.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from masklab.io.json_record import JsonRecord, Number, Record
from masklab.io.redaction import redact
from masklab.reporting.numbers import si
from masklab.reporting.run.summary import RunSummary

TrialStatus = Literal["waiting", "running", "finished", "stopped", "failed", "interrupted"]
"""A `stopped` trial was ended early because others were better; an `interrupted` one resumes with the sweep."""


Values = dict[str, int | float | str]
"""A value for each varied key."""


class Exploit(Record):
    """A trial of a population copied the state of a better one, `donor`, and explored new values (population based training)."""

    iteration: int
    chars: int
    donor: int
    before: Values
    """The trial's own values until then."""
    after: Values
    """Those it has gone on with."""
    nelbo_nats: Number
    """The trial's own NELBO then; None if it was not a number."""
    donor_nelbo_nats: Number
    weights_sha256: str
    """The hash of the weights that it has gone on from."""

    def described(self) -> str:
        """E.g. `at 12.8k characters from 001: training.learning_rate 1e-05 -> 0.0024`."""
        return f"at {si(self.chars)} characters from {self.donor:03d}: {self.changes()}"

    def changes(self) -> str:
        """E.g. `training.learning_rate 1e-05 -> 0.0024`; keys whose value stays are left out."""
        changed = (f"{key} {self.before[key]} -> {value}" for key, value in self.after.items() if self.before[key] != value)
        return ", ".join(changed) or "the same values"


class TrialRecord(Record):
    """One trial: its `values` by key, and its latest metrics, the final ones once it is finished."""

    number: int
    values: Values
    """Those now in force."""
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
    """The part of it spent in the training loop, final evaluation included."""
    lineage: tuple[Exploit, ...] = ()
    """When it went on from another trial's state, first to last."""

    @property
    def name(self) -> str:
        return f"{self.number:03d}"

    @property
    def overhead_seconds(self) -> float | None:
        """Time outside the training loop: starting its process, reporting, ending."""
        return None if self.wall_seconds is None or self.loop_seconds is None else self.wall_seconds - self.loop_seconds

    @property
    def values_over_time(self) -> dict[int, Values]:
        """The values in use from each iteration at which they changed."""
        first = self.lineage[0].before if self.lineage else self.values
        return {0: first} | {exploit.iteration: exploit.after for exploit in self.lineage}

    def described(self) -> str:
        """E.g. `training.learning_rate=0.003 curriculum=sticky`."""
        return " ".join(f"{key}={value}" for key, value in self.values.items())

    def with_summary(self, summary: RunSummary) -> TrialRecord:
        """The record of the finished trial: failed if its final NELBO is not a number."""
        diverged = summary.yardstick.nats is None
        return self.model_copy(
            update={
                "status": "failed" if diverged else "finished",
                "reason": "it diverged: its final NELBO is not a number" if diverged else "",
                "nelbo_nats": summary.yardstick.nats,
                "nelbo_stderr": summary.yardstick.stderr,
                "nelbo_bpc": summary.yardstick.bpc,
                "iterations": summary.iterations,
                "chars": summary.chars,
                "train_seconds": summary.train_seconds,
            }
        )


class SweepRecord(JsonRecord):
    FILE: ClassVar[str] = "sweep.json"
    REMEDY: ClassVar[str] = "remove it and give the sweep's command again"

    format: Literal[1] = 1
    name: str
    search: str
    space: dict[str, str]
    scheduler: str = "none"
    budget: str
    """The budget of each trial, in words."""
    exchanged_at: int = 0
    """The iteration of the last exchange within a population; 0 before the first, and where there is none."""
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
        """A copy in which `trial` replaces its earlier record, or is added."""
        known = {each.number: each for each in self.trials} | {trial.number: trial}
        return self.model_copy(update={"trials": tuple(known[number] for number in sorted(known))})

    @property
    def ranked(self) -> tuple[TrialRecord, ...]:
        """The finished trials, best first."""
        finished = [(trial.nelbo_nats, trial) for trial in self.trials if trial.status == "finished" and trial.nelbo_nats is not None]
        return tuple(trial for _, trial in sorted(finished, key=lambda pair: (pair[0], pair[1].number)))

    @property
    def best(self) -> TrialRecord | None:
        return next(iter(self.ranked), None)

    @property
    def exploits(self) -> tuple[tuple[TrialRecord, Exploit], ...]:
        """All exploits in the order in which they happened, each with the trial that copied."""
        all_of_them = [(trial, exploit) for trial in self.trials for exploit in trial.lineage]
        return tuple(sorted(all_of_them, key=lambda pair: (pair[1].iteration, pair[0].number)))

    def ancestors(self, iteration: int | None = None) -> dict[int, int]:
        """For each trial, the one whose initial weights its own descend from, after the exchange at `iteration` (default: the last)."""
        roots = {trial.number: trial.number for trial in self.trials}
        for trial, exploit in self.exploits:  # no trial both copies and is copied in one exchange
            if iteration is None or exploit.iteration <= iteration:
                roots[trial.number] = roots[exploit.donor]
        return roots

    def to_text(self) -> str:
        return redact(super().to_text())
