"""Population-based training: which trials exploit which others, and with what values they continue (Jaderberg et al. 2017).

All of this is a function of the sweep's seed, the iteration and the trials' metrics, so a resumed sweep makes the same exchanges. An
exchange is written into the sweep's record before any file of a trial is changed. If the sweep is killed within it, the next command
repeats it before any trial continues.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from masklab.cluster.tune.plan import PlannedTrial, SweepPlan
from masklab.config.compose.yaml_io import dump
from masklab.config.search.search_space import Point, perturbed
from masklab.errors import RunError, UserError
from masklab.reporting.run.history import EvaluationRecord, History
from masklab.reporting.sweep.record import Exploit, SweepRecord
from masklab.training.checkpoint.checkpoint import Checkpoint, open_checkpoint
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.run_folder import RunFolder

ATTEMPTS = 8
"""Points that are tried before the donor's own values are kept."""
STREAM = 0x706274
"""Separates the random stream of the exchanges from that of the first points."""


def next_exchange(plan: SweepPlan, exchanged_at: int) -> int | None:
    """The iteration of the exchange after the one at `exchanged_at`; None when there is no other."""
    if plan.exchange_steps is None:
        return None
    following = exchanged_at + plan.exchange_steps
    iterations = plan.config.training.iterations
    return following if iterations is not None and following < iterations else None


def truncation_selection(nats: Mapping[int, float], quantile: float, rng: np.random.Generator) -> dict[int, int]:
    """For trials of the worst fraction `quantile`, a donor drawn from the best fraction: {trial: donor}.

    `nats` are the NELBOs of all trials in nats per character. A donor's NELBO is finite and strictly lower; a trial without such a
    donor is left out.
    """
    ranked = sorted(nats, key=lambda number: (nats[number], number))
    size = min(math.ceil(quantile * len(ranked)), len(ranked) // 2)
    best = [number for number in ranked[:size] if math.isfinite(nats[number])]
    drawn = {number: best[int(rng.integers(len(best)))] for number in sorted(ranked[len(ranked) - size :]) if best}
    return {number: donor for number, donor in drawn.items() if nats[donor] < nats[number]}


def exchange_of(plan: SweepPlan, record: SweepRecord, members: Mapping[int, PlannedTrial], iteration: int) -> SweepRecord:
    """`record` after the exchange of `members` at `iteration`: the new values, and an entry in each changed trial's lineage."""
    settings = plan.config.sweep
    seen = {number: _evaluation(trial.folder, iteration) for number, trial in members.items()}
    nats = {number: math.inf if each.nelbo_nats is None else each.nelbo_nats for number, each in seen.items()}
    chosen = truncation_selection(nats, settings.quantile, np.random.default_rng([settings.seed, STREAM, iteration]))
    known = {trial.number: trial for trial in record.trials}
    for number, donor in chosen.items():
        values = explore(plan, number, dict(known[donor].values), iteration)
        event = Exploit(
            iteration=iteration,
            chars=iteration * plan.config.training.chars_per_step,
            donor=donor,
            before=known[number].values,
            after=values,
            nelbo_nats=seen[number].nelbo_nats,
            donor_nelbo_nats=seen[donor].nelbo_nats,
            weights_sha256=_state(members[donor].folder, iteration).weights_sha256,
        )
        lineage = (*known[number].lineage, event)
        record = record.with_trial(known[number].model_copy(update={"values": values, "lineage": lineage}))
    return record.model_copy(update={"exchanged_at": iteration})


def explore(plan: SweepPlan, number: int, donor: Point, iteration: int) -> Point:
    """The values that trial `number` continues with: the values `donor`, perturbed; unchanged if no perturbation is a valid config."""
    settings = plan.config.sweep
    rng = np.random.default_rng([settings.seed, STREAM, iteration, number + 1])
    for _ in range(ATTEMPTS):
        point = perturbed(settings.distributions, donor, settings.resample, rng)
        try:
            plan.config_at(number, point)
        except UserError:
            continue
        return point
    return donor


def exploit(plan: SweepPlan, trial: PlannedTrial, event: Exploit) -> PlannedTrial:
    """Replace the trial's checkpoint and history by the donor's, and write its new config. Returns the trial with its new values.

    Raises a UserError where the donor's checkpoint is missing or has changed.
    """
    donor = RunFolder(trial.folder.path.parent / f"{event.donor:03d}")
    checkpoint = _state(donor, event.iteration)
    if checkpoint.weights_sha256 != event.weights_sha256:
        raise RunError(f"{checkpoint.path}: its weights are not those that trial {trial.name} was to copy; use another run.name")
    config = plan.config_at(trial.number, dict(event.after))
    history = History.read(donor.path).until(event.iteration)
    history.write(trial.folder.path)
    trial.folder.write("config.yaml", dump(config))
    CheckpointStore(trial.folder.checkpoints, {}).adopt(checkpoint)  # last, since it marks the exchange as complete
    return replace(trial, point=dict(event.after), config=config)


def is_exploited(trial: PlannedTrial, event: Exploit) -> bool:
    """Whether the trial has the donor's state, or has continued from it."""
    newest = CheckpointStore(trial.folder.checkpoints, {}).newest()
    if newest is None:
        return trial.folder.is_finished
    return newest.state["iteration"] > event.iteration or newest.weights_sha256 == event.weights_sha256


def _evaluation(folder: RunFolder, iteration: int) -> EvaluationRecord:
    found = [each for each in History.read(folder.path).evaluations if each.iteration == iteration]
    if not found:
        raise RunError(f"{folder.path / 'history.json'}: no evaluation at step {iteration}; use another run.name")
    return found[0]


def _state(folder: RunFolder, iteration: int) -> Checkpoint:
    return open_checkpoint(folder.checkpoints / f"step_{iteration:09d}")
