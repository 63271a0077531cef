"""A trial's process, as Tune starts it: it hosts the loop of any run, or has it hosted by workers, and reports each evaluation."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

from ray import tune

from masklab.cluster.compare.runner import why_failed
from masklab.cluster.trial import Trial, run_nested, run_trial
from masklab.training.events import CheckpointSaved, EvaluationDone, Event, RunStarted

OBJECTIVE, SPENT, FAILURE = "nelbo_nats", "chars", "failure"
"""The names of what is reported: nats per character, to be made low; the characters seen until then; why a trial cannot go on."""
LEAVING_SECONDS = 60
"""How long a trial that was stopped has to send its last figures before its process is asked to host the next one."""
READY = "ready"
"""Reported, once, by a member of a population that has come to the end of its part."""


class PartEnded(Exception):
    """The iteration at which a part of a trial ends lies in a checkpoint."""


@dataclass(frozen=True, repr=False)
class TrialPayload:
    """What Tune carries to a trial's process. Tune copies what it carries; references into the object store stay what they are."""

    number: int
    trial: Trial
    until: int | None = None
    """The iteration at which this part of the trial ends; None for all that is left of it."""

    def __deepcopy__(self, memo: dict[int, Any]) -> TrialPayload:
        return self

    def __repr__(self) -> str:
        return f"trial {self.number}"


def host_trial(config: dict[str, Any]) -> None:
    """Tune's trainable; `config` holds the TrialPayload. Raises what the loop raises, once the reason has been reported."""
    handed: TrialPayload = config["handed"]
    os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", str(LEAVING_SECONDS))
    try:
        (run_trial if handed.trial.workers == 1 else run_nested)(handed.trial, lambda event: listen(event, handed.until))
    except PartEnded:
        tune.report({READY: True})  # the trial is paused here, when its figures have been sent
    except Exception as error:
        tune.report({OBJECTIVE: math.inf, SPENT: 0, FAILURE: why_failed(error)})
        raise


def listen(event: Event, until: int | None) -> None:
    """Report what is to be reported of `event`. Raises PartEnded at the iteration `until`."""
    report(event)
    if until is not None and isinstance(event, RunStarted | CheckpointSaved) and event.iteration >= until:
        raise PartEnded


def report(event: Event) -> None:
    """Report an evaluation to Tune, but not the last one: a trial that has come to its end is not to be stopped there.

    A loss that is no number is worse than any.
    """
    if isinstance(event, EvaluationDone) and event.budget_used < 1:
        assert event.evaluation.nelbo, "a sweep is of a mode that gives a likelihood"
        nats = event.evaluation.nelbo.nats
        tune.report({OBJECTIVE: nats if math.isfinite(nats) else math.inf, SPENT: event.chars, "iteration": event.iteration})
