"""A sweep in Optuna's terms: its space, and the trials that are over."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState, create_trial

from masklab.config.search.search_space import Choice, Distribution, Space, Uniform, distribution
from masklab.reporting.sweep.record import SweepRecord, TrialRecord

ENOUGH = 4
"""Finished trials that an estimate of importance needs."""


def distributions_of(space: Space) -> dict[str, BaseDistribution]:
    """The space as Optuna has it."""
    return {key: _of(each) for key, each in space.items()}


def past_trial(known: TrialRecord, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """A trial that is over, with its last figure where it was stopped early."""
    assert known.nelbo_nats is not None
    finished = known.status == "finished"
    return create_trial(
        params=dict(known.values),
        distributions=dict(distributions),
        value=known.nelbo_nats if finished else None,
        intermediate_values={} if finished else {known.iterations: known.nelbo_nats},
        state=TrialState.COMPLETE if finished else TrialState.PRUNED,
    )


def importance_of(record: SweepRecord) -> dict[str, float]:
    """The share of the variance of the final NELBO over the space that each varied key explains: functional ANOVA of a random forest
    (Hutter, Hoos and Leyton-Brown 2014). Empty where too few trials are finished to tell."""
    if len({trial.nelbo_nats for trial in record.ranked}) < ENOUGH:
        return {}
    space = {key: distribution(words) for key, words in record.space.items()}
    varied = [key for key, each in space.items() if len(each.ends) > 1]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="minimize")
    study.add_trials([past_trial(trial, distributions_of(space)) for trial in record.ranked])
    return dict(get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0), params=varied))


def _of(each: Distribution) -> BaseDistribution:
    if isinstance(each, Choice):
        return CategoricalDistribution(each.values)
    if isinstance(each, Uniform):
        return FloatDistribution(each.low, each.high, log=each.log)
    return IntDistribution(each.low, each.high)
