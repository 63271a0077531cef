"""A sweep that has passed every check that needs no cluster: its points, and the configuration of each trial.

Nothing but the prepared corpus is written until all trials have been found fit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from masklab.cluster.session import SessionPlan
from masklab.config.compose.composition import compose_tree
from masklab.config.compose.yaml_io import spelled, validated
from masklab.config.home import run_name, runs_folder
from masklab.config.jobs.registry import TUNE
from masklab.config.jobs.train import Config
from masklab.config.jobs.tune import SweepSettings, TuneConfig
from masklab.config.search.search_space import Point, Value, corners, draw, grid, overrides_of
from masklab.errors import ConfigError, RunError
from masklab.reporting.sweep.record import SweepRecord
from masklab.sampling.generation import start_of
from masklab.text.preparation import corpus_for
from masklab.tracking.mlflow_store import Store
from masklab.training.run_folder import RunFolder
from masklab.training.settings import BUDGETS, TrainingSettings

OWN_KEYS = ("sweep", "run")
"""The keys on the command line that are left out of the command that retrains a trial."""
TRIALS = 8
"""The number of points where sweep.num_trials is not given."""


@dataclass(frozen=True)
class PlannedTrial:
    """One point of the space, in a folder of its own."""

    number: int
    point: Point
    config: Config
    folder: RunFolder

    @property
    def name(self) -> str:
        return self.folder.path.name


@dataclass(frozen=True)
class SweepPlan(SessionPlan[SweepRecord]):
    """`overrides` are the words of the command that made `config`; `trials` in the order in which they are started.

    Of a search that goes by what it finds, `trials` are those of earlier parts of the sweep; others follow until there are `wanted`,
    from the space whose corners have the configurations `corners`.
    """

    config: TuneConfig
    overrides: tuple[str, ...]
    earlier: SweepRecord | None
    wanted: int
    exchange_steps: int | None = None
    """The iterations between two exchanges of a population; None without a population."""
    corners: tuple[Config, ...] = ()
    trials: tuple[PlannedTrial, ...] = ()

    @classmethod
    def of(cls, config: TuneConfig, overrides: Sequence[str], project: Path, home: Path, started_at: float) -> SweepPlan:
        """Check everything. Raises a UserError for whatever is wrong."""
        name = run_name(config.run, "sweep", started_at)
        config = config.model_copy(update={"run": config.run.model_copy(update={"name": name})})
        _holds_an_evaluation(config.training)
        folder = RunFolder.claim(runs_folder(config.run, home), name, config.model_dump(mode="json"))
        store = Store.of(config.tracking, home) if config.tracking.is_sent else None
        corpus = corpus_for(config.dataset, home / ".corpora")
        earlier = earlier_record(folder)
        chosen = dict(enumerate(points(config.sweep))) if config.sweep.search != "optuna" else _known_points(folder, earlier)
        wanted = len(chosen) if config.sweep.search == "grid" else config.sweep.num_trials or TRIALS
        steps = None
        if config.sweep.scheduler == "pbt":
            wanted = len(chosen)
            chosen |= known_population(earlier, wanted)
            steps = exchange_steps(config.sweep, config.training)
        plan = cls(config, project, folder, corpus, store, started_at, tuple(overrides), earlier, wanted, steps)
        ends = corners(config.sweep.distributions) if config.sweep.search == "optuna" else ()
        plan = replace(plan, corners=tuple(plan.config_at(0, point) for point in ends))
        trials = tuple(plan.trial(number, point) for number, point in chosen.items())
        if store:
            store.check()
        return replace(plan, trials=trials)

    @property
    def title(self) -> str:
        return f"### Sweep over {', '.join(self.config.sweep.space)}"

    def statuses(self, record: SweepRecord) -> dict[RunFolder, str]:
        return {RunFolder(self.folder.path / "trials" / trial.name): trial.status for trial in record.trials}

    def is_over(self, record: SweepRecord) -> bool:
        return len(record.trials) >= self.wanted and super().is_over(record)

    def refuse_if_changed(self) -> None:
        if earlier_record(self.folder) != self.earlier:
            raise RunError(f"sweep '{self.name}' was still being worked on when this command began; give it again")

    def trial(self, number: int, point: Point) -> PlannedTrial:
        """Trial `number` at `point`. Raises a UserError for what is wrong with it, or where its folder holds another run."""
        config = self.config_at(number, point)
        parent, name = self.folder.path / "trials", f"{number:03d}"
        if self.earlier and any(known.number == number and known.lineage for known in self.earlier.trials):
            # a killed driver may have left the config from before an exchange that is still to be completed
            return PlannedTrial(number, point, config, RunFolder(parent / name))
        return PlannedTrial(number, point, config, RunFolder.claim(parent, name, config.model_dump(mode="json")))

    def config_at(self, number: int, point: Point) -> Config:
        """The configuration of trial `number` at `point`, checked as a run of its own would be. Raises ConfigError, naming the point."""
        try:
            composed = compose_tree(TUNE, [*self.overrides, *overrides_of(point)], self.project)
            assert isinstance(composed, TuneConfig)
            run = {"name": f"{number:03d}", "seed": composed.run.seed, "folder": str(self.folder.path / "trials")}
            sections = {name: value for name, value in composed.model_dump(mode="json").items() if name in Config.model_fields}
            sections |= {"curriculum": self._shared_pools(sections["curriculum"])} if self.exchange_steps else {}
            config = validated(sections | {"run": run})
            config.recipe.batch_maker(self.corpus)
            start_of(config.sampling, self.corpus.vocabulary, config.training.block_size)
            _holds_an_evaluation(config.training)
        except ConfigError as error:
            raise ConfigError(f"{error} (in the sweep's trial {number}: {' '.join(overrides_of(point))})") from error
        return config

    def _shared_pools(self, curriculum: dict[str, Any]) -> dict[str, Any]:
        """The curriculum of a population's trial, with the validation stages of the unvaried one: a trial that exploits another also
        continues from its best loss. Raises ConfigError where the number of stages varies, since the current stage is copied too.
        """
        unvaried = self.config.curriculum.model_dump(mode="json")
        asked, fixed = len(curriculum["stages"]), len(unvaried["stages"])
        if asked != fixed:
            raise ConfigError(
                f"curriculum: {asked} stages, where the population's other trials have {fixed}; vary nothing that adds or drops one"
            )
        return curriculum | {"validation_stages": unvaried["stages"]} if self._has_shared_pools else curriculum

    @property
    def _has_shared_pools(self) -> bool:
        """Whether trials are validated under stages that are not their own."""
        varied = any(key.startswith(("curriculum.", "ramp.")) for key in self.config.sweep.space)
        return varied and self.exchange_steps is not None and self.config.curriculum.validation_stages is None

    def retraining(self, point: Mapping[str, Value]) -> list[str]:
        """The words of the command that trains the trial at `point` as a run of its own, with the same metrics."""
        given = {word: word.lstrip("+~").partition("=")[0] for word in self.overrides}
        keys = {word: TUNE.shorthands.get(key, key) for word, key in given.items()}
        shared = [word for word, key in keys.items() if key.split(".")[0] not in OWN_KEYS and key not in point]
        unvaried = self.config.curriculum.model_dump(mode="json")["stages"]
        pools = [f"curriculum.validation_stages={spelled(unvaried)}"] if self._has_shared_pools else []
        seed = [] if "run.seed" in point else [f"run.seed={self.config.run.seed}"]
        return ["python", "jobs/train.py", *shared, *overrides_of(point), *pools, *seed, f"run.name={self.name}-best"]


def earlier_record(folder: RunFolder) -> SweepRecord | None:
    """The record that an earlier command left in `folder`; None where there is none. Raises RunError for a damaged record."""
    return SweepRecord.read(folder.path) if (folder.path / SweepRecord.FILE).exists() else None


def points(settings: SweepSettings) -> tuple[Point, ...]:
    """The points of the sweep, in their order. Raises ConfigError for a grid that has more of them than trials are asked for."""
    space = settings.distributions
    if settings.search == "random":
        return tuple(draw(space, settings.seed, number) for number in range(settings.num_trials or TRIALS))
    every = grid(space, settings.grid_points)
    if settings.num_trials is not None and settings.num_trials < len(every):
        raise ConfigError(
            f"sweep.num_trials = {settings.num_trials}: the grid has {len(every)} points (sweep.grid_points = {settings.grid_points}); "
            "drop num_trials, or take sweep.search=random"
        )
    return every


def _known_points(folder: RunFolder, earlier: SweepRecord | None) -> dict[int, Point]:
    """The points of an earlier part of the sweep, by number, without invalid ones that never began."""
    known = earlier.trials if earlier else ()
    fit = (each for each in known if each.status != "failed" or (folder.path / "trials" / each.name / "config.yaml").exists())
    return {trial.number: dict(trial.values) for trial in fit}


def known_population(earlier: SweepRecord | None, wanted: int) -> dict[int, Point]:
    """The current values of each trial of a population that has begun. Raises ConfigError for a wrong number of trials."""
    if wanted < 2:
        raise ConfigError(f"sweep.num_trials = {wanted}: a population has at least 2 trials; give more, or another sweep.scheduler")
    if earlier and len(earlier.trials) != wanted:
        raise ConfigError(
            f"sweep.num_trials = {wanted}: the population of {earlier.name} has {len(earlier.trials)} trials, and none joins or leaves it "
            "midway; use another run.name"
        )
    return {trial.number: dict(trial.values) for trial in earlier.trials} if earlier else {}


def exchange_steps(settings: SweepSettings, training: TrainingSettings) -> int:
    """The iterations from one exchange of a population to the next: `interval` of the budget, in whole evaluations.

    Raises ConfigError where that holds no evaluation, where the budget holds no two, or where no state is kept then.
    """
    iterations, every = training.iterations, training.eval_interval
    assert iterations, "the configuration has been checked"
    steps = round(settings.interval * iterations / every) * every
    share = f"sweep.interval = {settings.interval:g}: {settings.interval * iterations:.12g} of {iterations} steps"
    if not steps:
        raise ConfigError(
            f"{share} hold no evaluation, of which there is one every {every}; "
            f"take sweep.interval={math.ceil(100 * every / iterations) / 100:g}, or a smaller training.eval_interval"
        )
    if 2 * steps > iterations:
        raise ConfigError(f"{share} are one part of {steps} with an evaluation every {every}, and leave no second; evaluate more often")
    if training.checkpoint_interval is not None and steps % training.checkpoint_interval:
        raise ConfigError(
            f"training.checkpoint_interval = {training.checkpoint_interval}: a population exchanges its state every {steps} steps, and "
            "it must be in a checkpoint then; drop it, or give a divisor of that"
        )
    return steps


def budget_of(training: TrainingSettings) -> str:
    """A trial's budget as text: `600 iters`."""
    given = [(name.removeprefix("max_").replace("_", " "), value) for name in BUDGETS if (value := getattr(training, name)) is not None]
    return " or ".join(f"{value:,.12g} {unit}" for unit, value in given)


def _holds_an_evaluation(training: TrainingSettings) -> None:
    """Raise ConfigError where a trial would end before its first evaluation."""
    iterations = training.iterations
    if iterations is not None and iterations < training.eval_interval:
        raise ConfigError(
            f"training.eval_interval = {training.eval_interval}: the budget of {budget_of(training)} is spent after {iterations} steps, "
            "before the first evaluation; evaluate more often, or give a larger budget"
        )
