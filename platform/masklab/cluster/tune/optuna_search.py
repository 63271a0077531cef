"""Points chosen from the results of earlier trials: Optuna's tree-structured Parzen estimator (Bergstra et al. 2011).

It is called without Ray Tune, so that a resumed sweep can pass it the earlier trials from the sweep's own record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState, create_trial

from masklab.config.search.search_space import Choice, Distribution, Point, Space, Uniform, distribution
from masklab.reporting.sweep.record import SweepRecord, TrialRecord

ENOUGH = 4
"""The fewest different results from which importance is estimated."""


def distributions_of(space: Space) -> dict[str, BaseDistribution]:
    return {key: _of(each) for key, each in space.items()}


def past_trial(known: TrialRecord, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """An ended trial as an Optuna trial; a stopped one has its last NELBO as an intermediate value."""
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
    (Hutter, Hoos and Leyton-Brown 2014). Empty where too few trials are finished."""
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


class Suggestions:
    """`known` are the trials of an earlier part of the sweep. The first quarter of the `trials` points in all is random."""

    def __init__(self, space: Space, seed: int, trials: int, known: Iterable[TrialRecord] = ()) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._open = space, dict[int, optuna.Trial]()
        self._distributions = distributions_of(space)
        over = [trial for trial in known if _has_result(trial)]
        # a sweep that goes on must not be given the points of its beginning again
        own = int(np.random.SeedSequence([seed, len(over)]).generate_state(1)[0])
        sampler = optuna.samplers.TPESampler(seed=own, n_startup_trials=min(10, max(3, trials // 4)), constant_liar=True)
        self._study = optuna.create_study(direction="minimize", sampler=sampler)
        for trial in over:
            self._study.add_trial(past_trial(trial, self._distributions))

    def ask(self, number: int) -> Point:
        """The point of trial `number`, its numbers rounded to six digits as in every search."""
        trial = self._open[number] = self._study.ask(self._distributions)
        return {key: _short(self._space[key], value) for key, value in trial.params.items()}

    def tell(self, known: TrialRecord) -> None:
        """Pass a trial's result to Optuna: a stopped one has its last NELBO, a failed one none."""
        if known.number not in self._open:  # asked for by an earlier part of the sweep
            if _has_result(known):
                self._study.add_trial(past_trial(known, self._distributions))
            return
        trial = self._open.pop(known.number)
        if not _has_result(known):
            self._study.tell(trial, state=TrialState.FAIL)
        elif known.status == "stopped":
            trial.report(known.nelbo_nats, known.iterations)  # type: ignore[arg-type]
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, known.nelbo_nats)


def _has_result(known: TrialRecord) -> bool:
    return known.status in ("finished", "stopped") and known.nelbo_nats is not None


def _short(each: Distribution, value: float | str) -> float | int | str:
    return each.rounded(float(value)) if isinstance(each, Uniform) else value
