"""A population: which of its trials take over from which, and with what values (Jaderberg et al. 2017).

All of this is a function of the sweep's seed, the iteration and the trials' figures, so that a sweep which is stopped and goes on makes
the same exchanges. An exchange is written into the sweep's record before a file of a trial is touched, and is carried out again where
a sweep was killed within it: until then no trial has gone on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from masklab.cluster.tune.plan import PlannedTrial, SweepPlan
from masklab.config.compose.yaml_io import dump
from masklab.config.jobs.tune import SweepSettings
from masklab.config.search.search_space import Point, perturbed
from masklab.errors import RunError, UserError
from masklab.reporting.run.history import EvaluationRecord, History
from masklab.reporting.sweep.record import Exploit, SweepRecord
from masklab.training.checkpoint.checkpoint import Checkpoint, open_checkpoint
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.run_folder import RunFolder

ATTEMPTS = 8
"""Points that are tried before the donor's own is taken."""
STREAM = 0x706274
"""Sets the random numbers of exchanges apart from those that draw the first points."""


def next_exchange(plan: SweepPlan, exchanged_at: int) -> int | None:
    """The iteration of the exchange after that at `exchanged_at`; None when the rest of the budget is trained in one piece."""
    if plan.exchange_steps is None:
        return None
    following = exchanged_at + plan.exchange_steps
    iterations = plan.config.training.iterations
    return following if iterations is not None and following < iterations else None


def pairs(nats: Mapping[int, float], quantile: float, rng: np.random.Generator) -> dict[int, int]:
    """For each trial of the worst `quantile` that takes over, a donor out of the best: truncation selection.

    `nats` are the NELBOs of all trials, nats per character. A donor is strictly better, and its figure is a number.
    """
    ranked = sorted(nats, key=lambda number: (nats[number], number))
    size = min(math.ceil(quantile * len(ranked)), len(ranked) // 2)
    best = [number for number in ranked[:size] if math.isfinite(nats[number])]
    drawn = {number: best[int(rng.integers(len(best)))] for number in sorted(ranked[len(ranked) - size :]) if best}
    return {number: donor for number, donor in drawn.items() if nats[donor] < nats[number]}


def exchange_of(plan: SweepPlan, record: SweepRecord, members: Mapping[int, PlannedTrial], iteration: int) -> SweepRecord:
    """`record` with what the exchange of `members` at `iteration` decides: new values, and the takeover in the lineage."""
    settings = plan.config.sweep
    seen = {number: _evaluation(trial.folder, iteration) for number, trial in members.items()}
    nats = {number: math.inf if each.nelbo_nats is None else each.nelbo_nats for number, each in seen.items()}
    chosen = pairs(nats, settings.quantile, np.random.default_rng([settings.seed, STREAM, iteration]))
    known = {trial.number: trial for trial in record.trials}
    for number, donor in chosen.items():
        values = explored(plan, number, dict(known[donor].values), iteration)
        takeover = Exploit(
            iteration=iteration,
            chars=iteration * plan.config.training.chars_per_step,
            donor=donor,
            before=known[number].values,
            after=values,
            nelbo_nats=seen[number].nelbo_nats,
            donor_nelbo_nats=seen[donor].nelbo_nats,
            weights_sha256=_state(members[donor].folder, iteration).weights_sha256,
        )
        lineage = (*known[number].lineage, takeover)
        record = record.with_trial(known[number].model_copy(update={"values": values, "lineage": lineage}))
    return record.model_copy(update={"exchanged_at": iteration})


def explored(plan: SweepPlan, number: int, donor: Point, iteration: int) -> Point:
    """What trial `number` goes on with: the values `donor`, varied so that they make a fit configuration, or as they are."""
    settings: SweepSettings = plan.config.sweep
    rng = np.random.default_rng([settings.seed, STREAM, iteration, number + 1])
    for _ in range(ATTEMPTS):
        point = perturbed(settings.distributions, donor, settings.resample, rng)
        try:
            plan.config_at(number, point)
        except UserError:
            continue
        return point
    return donor


def carry_out(plan: SweepPlan, trial: PlannedTrial, takeover: Exploit) -> PlannedTrial:
    """Put the donor's state and history in place of the trial's own, and the new values into its config; the trial as it goes on.

    Raises a UserError where the donor's state is not there.
    """
    donor = RunFolder(trial.folder.path.parent / f"{takeover.donor:03d}")
    checkpoint = _state(donor, takeover.iteration)
    if checkpoint.weights_sha256 != takeover.weights_sha256:
        raise RunError(f"{checkpoint.path}: other weights than those that trial {trial.name} was to take over; use another run.name")
    config = plan.config_at(trial.number, dict(takeover.after))
    history = History.read(donor.path).until(takeover.iteration)
    history.write(trial.folder.path)
    trial.folder.write("config.yaml", dump(config))
    CheckpointStore(trial.folder.checkpoints, {}).adopt(checkpoint)  # last, since it tells that the rest is done
    return replace(trial, point=dict(takeover.after), config=config)


def is_carried_out(trial: PlannedTrial, takeover: Exploit) -> bool:
    """Whether the trial has gone on from the donor's state, or is about to."""
    newest = CheckpointStore(trial.folder.checkpoints, {}).newest()
    if newest is None:
        return trial.folder.is_finished
    return newest.state["iteration"] > takeover.iteration or newest.weights_sha256 == takeover.weights_sha256


def _evaluation(folder: RunFolder, iteration: int) -> EvaluationRecord:
    found = [each for each in History.read(folder.path).evaluations if each.iteration == iteration]
    if not found:
        raise RunError(f"{folder.path / 'history.json'}: no evaluation at step {iteration}; use another run.name")
    return found[0]


def _state(folder: RunFolder, iteration: int) -> Checkpoint:
    return open_checkpoint(folder.checkpoints / f"step_{iteration:09d}")
