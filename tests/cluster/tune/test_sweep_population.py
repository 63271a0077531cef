"""A population on Ray Tune: who takes over from whom, what is handed over, and that stopping and killing it changes nothing."""

from __future__ import annotations

import math
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from jobs_of_tests import job_function

from masklab.cluster.tune.plan import PlannedTrial, SweepPlan, exchange_steps, known_population
from masklab.cluster.tune.population import exploit, explore, is_exploited, next_exchange, truncation_selection
from masklab.config.command_line.main import main
from masklab.config.compose.composition import compose, compose_tree
from masklab.config.compose.yaml_io import dump
from masklab.config.jobs.registry import TUNE
from masklab.config.jobs.tune import SweepSettings, TuneConfig
from masklab.errors import CheckpointError, ConfigError
from masklab.reporting.run.history import EvaluationRecord, History
from masklab.reporting.sweep.record import Exploit, SweepRecord, TrialRecord
from masklab.reporting.sweep.tables import SweepTerminal
from masklab.training.checkpoint.checkpoint import Checkpoint
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.run_folder import RunFolder
from masklab.training.settings import TrainingSettings

pytestmark = pytest.mark.timeout(240)
RATES = 'sweep.space={training.learning_rate: "log(1e-7,3e-3)"}'
PLANTED = [RATES, "sweep.search=grid", "sweep.grid_points=4", "sweep.resample=0", "sweep.interval=0.2"]
"""Four learning rates of which only the last one learns anything, exchanged four times."""


def words(home: Path, *overrides: str) -> list[str]:
    """The command line: one layer of 16 channels on blocks of 32 characters, 40 steps, unless `overrides` say otherwise."""
    return [
        *("dataset=text", f"dataset.path={home / 'text.txt'}", "sweep.scheduler=pbt", "sweep.parallel=2"),
        *("model.n_layer=1", "model.n_head=2", "model.n_embd=16", "training.batch_size=4", "training.block_size=32"),
        *("training.eval_interval=4", "training.warmup_iters=2", "training.max_iters=40", "sampling.steps=4"),
        *("validation.sequences=6", "validation.nelbo_sequences=16", "validation.final_nelbo_sequences=32"),
        *overrides,
    ]


def planned(home: Path, root: Path, *overrides: str) -> SweepPlan:
    line = words(home, *overrides)
    config = compose_tree(TUNE, line, root)
    assert isinstance(config, TuneConfig)
    return SweepPlan.of(config, line, root, home, 0.0)


@dataclass
class Told:
    """What one command did: its exit status, the trials that it ended, and the files that were found unequal after a takeover."""

    status: int
    record: SweepRecord
    ended: list[str] = field(default_factory=list)
    unequal: list[str] = field(default_factory=list)
    handed_over: int = 0

    @property
    def lineage(self) -> list[tuple[int, Exploit]]:
        return [(trial.number, takeover) for trial, takeover in self.record.exploits]

    @property
    def figures(self) -> list[tuple[Any, ...]]:
        return [(trial.status, trial.values, trial.nelbo_nats) for trial in self.record.trials]


Command = Callable[..., Told]


@pytest.fixture(scope="module")
def command(home: Path, root: Path, ray_cluster: Any) -> Command:
    """Runs `jobs/tune.py` in this process. It is sent SIGTERM after `stop_after` takeovers, and `fail_at` one of them cannot be copied."""
    from masklab.cluster.tune import runner

    def run(name: str, *overrides: str, stop_after: int | None = None, fail_at: int | None = None) -> Told:
        line = words(home, f"run.name={name}", *overrides)
        ended: list[str] = []
        unequal: list[str] = []
        begun: list[int] = []
        end, told = SweepTerminal.ended, []

        def carry(plan: SweepPlan, trial: PlannedTrial, takeover: Exploit) -> PlannedTrial:
            begun.append(trial.number)
            if len(begun) == fail_at:
                raise CheckpointError("the disk is full")
            after = exploit(plan, trial, takeover)
            state = f"checkpoints/step_{takeover.iteration:09d}"
            donor = trial.folder.path.parent / f"{takeover.donor:03d}" / state
            own = {file.name: file.read_bytes() for file in (trial.folder.path / state).iterdir()}
            unequal.extend(file.name for file in donor.iterdir() if own.pop(file.name, b"") != file.read_bytes())
            unequal.extend(own)
            return after

        def take_over(self: SweepTerminal, trial: TrialRecord, takeover: Exploit) -> None:
            told.append(trial.number)
            if len(told) == stop_after:
                os.kill(os.getpid(), signal.SIGTERM)

        def end_one(self: SweepTerminal, record: SweepRecord, known: TrialRecord) -> None:
            ended.append(known.name)
            end(self, record, known)

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MASKLAB_HOME", str(home))
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            patch.setattr(SweepTerminal, "exploited", take_over)
            patch.setattr(SweepTerminal, "ended", end_one)
            patch.setattr(runner, "exploit", carry)
            status = main("tune", "", lambda config: job_function(root, "tune")(config, line), root, line, tree=TUNE)
        return Told(status, SweepRecord.read(home / "runs" / name), ended, unequal, len(begun))

    return run


@pytest.fixture(scope="module")
def whole(command: Command) -> Told:
    return command("whole", *PLANTED, "tracking.enabled=false")


@pytest.fixture(scope="module")
def stopped(whole: Told, command: Command) -> Told:
    """The same population, stopped by SIGTERM."""
    return command("parts", *PLANTED, stop_after=1)


@pytest.fixture(scope="module")
def failed(stopped: Told, command: Command) -> Told:
    """The same command, whose disk is full in the middle of an exchange."""
    return command("parts", *PLANTED, fail_at=1)


@pytest.fixture(scope="module")
def resumed(failed: Told, command: Command) -> Told:
    """The same command, left to its end."""
    return command("parts", *PLANTED)


@pytest.mark.ray
def test_the_planted_best_spreads_through_the_population(whole: Told) -> None:
    assert whole.status == 0 and {trial.status for trial in whole.record.trials} == {"finished"}
    assert whole.record.ancestors() == {0: 3, 1: 3, 2: 3, 3: 3}
    assert min(float(trial.values["training.learning_rate"]) for trial in whole.record.trials) > 1e-3
    for _, takeover in whole.lineage:
        assert takeover.donor_nelbo_nats is not None and takeover.nelbo_nats is not None
        assert takeover.donor_nelbo_nats < takeover.nelbo_nats
        assert takeover.chars == takeover.iteration * 4 * 32 and takeover.iteration % 8 == 0


@pytest.mark.ray
def test_trials_that_wait_for_each_other_tell_no_time_beside_their_loops(whole: Told) -> None:
    assert [trial.overhead_seconds for trial in whole.record.trials] == [None] * 4


@pytest.mark.ray
def test_what_is_taken_over_is_the_donors_state_byte_by_byte(whole: Told) -> None:
    assert whole.handed_over == len(whole.lineage) >= 3
    assert whole.unequal == []


@pytest.mark.ray
def test_the_folder_of_a_trial_tells_the_values_in_force_and_the_curve_of_its_weights(whole: Told, home: Path) -> None:
    trials = home / "runs" / "whole" / "trials"
    for trial in whole.record.trials:
        config = yaml.safe_load((trials / trial.name / "config.yaml").read_text())
        assert config["training"]["learning_rate"] == trial.values["training.learning_rate"]
        curve = History.read(trials / trial.name).evaluations
        assert [each.iteration for each in curve] == list(range(4, 41, 4))
    (last, takeover) = whole.lineage[-1]
    own, donors = (History.read(trials / f"{number:03d}") for number in (last, takeover.donor))
    assert own.until(takeover.iteration) == donors.until(takeover.iteration)
    assert own != donors, "they went on with other values"


@pytest.mark.ray
def test_a_population_that_is_stopped_keeps_its_exchanges(whole: Told, stopped: Told) -> None:
    assert (stopped.status, stopped.ended, stopped.unequal) == (130, [], [])
    assert stopped.lineage == whole.lineage[: len(stopped.lineage)] != []


@pytest.mark.ray
def test_a_state_that_cannot_be_copied_ends_the_sweep_in_one_line(whole: Told, stopped: Told, failed: Told) -> None:
    assert (failed.status, failed.ended) == (2, [])
    assert failed.lineage == whole.lineage[: len(failed.lineage)]
    assert len(failed.lineage) > len(stopped.lineage), "an exchange is recorded before it is carried out"


@pytest.mark.ray
def test_the_same_command_goes_on_to_the_same_end(whole: Told, resumed: Told) -> None:
    assert resumed.status == 0 and sorted(resumed.ended) == ["000", "001", "002", "003"]
    assert resumed.lineage == whole.lineage
    assert resumed.figures == whole.figures
    assert not resumed.unequal


@pytest.mark.ray
def test_each_trial_has_one_child_which_tells_its_values_over_time(resumed: Told, home: Path) -> None:
    from mlflow.tracking import MlflowClient

    record = resumed.record
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    kept = list(client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]))
    children = {run.info.run_name: run for run in kept if "mlflow.parentRunId" in run.data.tags}
    assert len(kept) == 5 and sorted(children) == [f"parts/{number:03d}" for number in range(4)]
    for trial in record.trials:
        child = children[f"parts/{trial.name}"]
        told = client.get_metric_history(child.info.run_id, "values/training.learning_rate")
        first = trial.lineage[0].before if trial.lineage else trial.values
        expected = {0: first} | {takeover.iteration: takeover.after for takeover in trial.lineage}
        assert {point.step: point.value for point in told} == {step: values["training.learning_rate"] for step, values in expected.items()}
        assert child.data.tags.get("lineage", "").count("from") == len(trial.lineage)
        steps = [point.step for point in client.get_metric_history(child.info.run_id, "val/nelbo_nats")]
        assert sorted(set(steps)) == sorted(steps), "an evaluation was stored twice"
    (parent,) = [run for run in kept if run not in children.values()]
    sent = {file.path for folder in (None, "figures") for file in client.list_artifacts(parent.info.run_id, folder)}
    assert {"lineage.txt", "figures/lineage.png"} <= sent
    assert "no single run repeats" in parent.data.tags["mlflow.note.content"]


@pytest.mark.ray
def test_stages_are_varied_under_the_pools_of_the_unvaried_ones(command: Command, home: Path) -> None:
    space = 'sweep.space={curriculum.stages.0.mask_ratio: "uniform(0.1,0.5)", curriculum.patience: "int(1,6)"}'
    told = command("stages", space, "curriculum=sticky", "sweep.num_trials=2", "sweep.interval=0.5", "tracking.enabled=false")
    assert told.status == 0 and len(told.lineage) == 1 and not told.unequal
    configs = [yaml.safe_load(file.read_text())["curriculum"] for file in sorted(home.glob("runs/stages/trials/*/config.yaml"))]
    pools = [config["validation_stages"] for config in configs]
    assert pools[0] == pools[1] and pools[0][0]["mask_ratio"] == 0.2
    assert [config["stages"][0]["mask_ratio"] for config in configs] == [
        trial.values["curriculum.stages.0.mask_ratio"] for trial in told.record.trials
    ]


def test_the_command_of_a_member_has_the_pools_of_the_population(home: Path, root: Path) -> None:
    space = 'sweep.space={curriculum.stages.0.mask_ratio: "uniform(0.1,0.5)"}'
    trial = (plan := planned(home, root, "run.name=again", space, "curriculum=sticky", "sweep.num_trials=2")).trials[0]
    assert compose(plan.retraining(trial.point)[2:], root).recipe == trial.config.recipe
    assert trial.config.curriculum.validation_stages != trial.config.curriculum.stages
    apart = planned(home, root, "run.name=once-more", *PLANTED)
    assert not any("validation_stages" in word for word in apart.retraining({}))


def test_the_worst_quarter_takes_over_from_the_best() -> None:
    nats = {number: 2.0 + number / 10 for number in range(8)}
    drawn = {tuple(sorted(truncation_selection(nats, 0.25, np.random.default_rng(seed)).items())) for seed in range(50)}
    assert drawn == {((6, a), (7, b)) for a in (0, 1) for b in (0, 1)}
    assert truncation_selection({0: 2.0, 1: 2.5, 2: 3.0}, 0.5, np.random.default_rng(0)) == {2: 0}, "no trial is in both halves"


def test_what_is_no_better_is_not_taken_over() -> None:
    rng = np.random.default_rng(0)
    assert truncation_selection({0: 2.0, 1: 2.0}, 0.5, rng) == {}
    assert truncation_selection({0: math.inf, 1: math.inf}, 0.5, rng) == {}
    assert truncation_selection({0: math.inf, 1: 2.0}, 0.5, rng) == {0: 1}, "a trial whose loss is no number is rescued"


def test_parts_are_whole_numbers_of_evaluations() -> None:
    training = TrainingSettings(max_iters=600, eval_interval=60)
    assert exchange_steps(SweepSettings(), training) == 60
    assert exchange_steps(SweepSettings(interval=0.24), training) == 120
    assert exchange_steps(SweepSettings(interval=0.5), TrainingSettings(max_chars=600 * 16 * 128, eval_interval=50)) == 300


def test_the_last_part_goes_to_the_end(home: Path, root: Path) -> None:
    plan = planned(home, root, "run.name=parts-of-it", *PLANTED)
    assert [next_exchange(plan, at) for at in (0, 8, 24, 32)] == [8, 16, 32, None]


def test_an_unfit_variation_is_drawn_again_and_else_the_donors_values_stay(home: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(home, root, "run.name=unfit", *PLANTED)
    donor = {"training.learning_rate": 1e-3}
    tried: list[float] = []

    def refuse(self: SweepPlan, number: int, point: dict[str, float]) -> None:
        tried.append(point["training.learning_rate"])
        if len(tried) < 3 or fit is False:
            raise ConfigError("unfit")

    fit = True
    monkeypatch.setattr(SweepPlan, "config_at", refuse)
    assert explore(plan, 0, donor, 8) == {"training.learning_rate": tried[2]} and len(tried) == 3
    fit = False
    assert explore(plan, 0, donor, 8) == donor


def test_a_trial_without_its_state_has_not_taken_over(home: Path, root: Path) -> None:
    trial = planned(home, root, "run.name=bare", *PLANTED).trials[0]
    takeover = Exploit(iteration=8, chars=1024, donor=3, before={}, after={}, nelbo_nats=3.0, donor_nelbo_nats=2.0, weights_sha256="0")
    assert not is_exploited(trial, takeover)


class Killed(BaseException):
    """The end of a driver, which nothing in it notices."""


def kept(trial: PlannedTrial, seed: int) -> Checkpoint:
    """The state of `trial` at step 8."""
    trial.folder.begin(dump(trial.config))
    evaluation = EvaluationRecord(
        iteration=8, stage=0, train_loss=seed, loss=0, stage_losses=(), nelbo_nats=2.0, chars=1024, masked_chars=512, elapsed_seconds=1.0
    )
    History(evaluations=(evaluation,)).write(trial.folder.path)
    torch.manual_seed(seed)
    return Checkpoint(CheckpointStore(trial.folder.checkpoints, {}).save(8, torch.nn.Linear(2, 2), {}, {"iteration": 8}))


@pytest.mark.parametrize("cut", [(History, "write"), (RunFolder, "write"), (shutil, "copytree"), (Path, "rename")])
def test_a_takeover_that_is_cut_off_anywhere_is_made_again(
    home: Path, root: Path, monkeypatch: pytest.MonkeyPatch, cut: tuple[Any, str]
) -> None:
    plan = planned(home, root, f"run.name=cut-{cut[0].__name__}", *PLANTED)
    trial, donor = plan.trials[0], plan.trials[3]
    own, other = kept(trial, 1), kept(donor, 2)
    values = {"training.learning_rate": 2e-3}
    takeover = Exploit(
        iteration=8,
        chars=1024,
        donor=3,
        before=trial.point,
        after=values,
        nelbo_nats=3.0,
        donor_nelbo_nats=2.0,
        weights_sha256=other.weights_sha256,
    )
    assert own.weights_sha256 != other.weights_sha256

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(*cut, kill)
        exploit(plan, trial, takeover)
    assert not is_exploited(trial, takeover)
    after = exploit(plan, trial, takeover)
    assert is_exploited(trial, takeover) and after.config.training.learning_rate == 2e-3
    assert yaml.safe_load((trial.folder.path / "config.yaml").read_text())["training"]["learning_rate"] == 2e-3
    assert History.read(trial.folder.path) == History.read(donor.folder.path)
    assert [file.name for file in trial.folder.checkpoints.iterdir()] == [other.path.name]


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (['sweep.space={model.n_layer: "int(1,2)"}'], "model.n_layer: cannot be varied with sweep.scheduler=pbt; weights cannot be copied"),
        (['sweep.space={training.batch_size: "int(1,2)"}'], "see the same batches"),
        (['sweep.space={curriculum: "choice(sticky,random)"}'], "the run's stage does not carry over"),
        (['sweep.space={ramp.n_stages: "int(2,4)"}', "curriculum=ramp"], "another number of stages"),
        (
            ['sweep.space={ramp.uniform_tail: "choice(0,0.2)"}', "curriculum=ramp", "sweep.search=grid"],
            "the population's other trials have",
        ),
        ([RATES, "sweep.search=optuna"], "goes with random or grid"),
        ([RATES, "sweep.num_trials=1"], "at least 2 trials"),
        ([RATES, "sweep.interval=0.02"], "hold no evaluation"),
        ([RATES, "sweep.interval=0.5", "training.max_iters=7"], "leave no second"),
        ([RATES, "sweep.interval=0.7"], "must be at most 0.5"),
        ([RATES, "training.checkpoint_interval=3"], "give a divisor"),
        ([RATES, "scaling.num_workers=2"], "one worker"),
        ([RATES, "training.max_iters=null", "training.max_minutes=1"], "equal numbers of characters"),
    ],
)
def test_what_no_population_can_be_asked_is_refused_in_one_line(
    tmp_path: Path, text: str, root: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], reason: str
) -> None:
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    line = words(tmp_path, "run.name=refused", *overrides)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASKLAB_HOME", str(tmp_path))
        assert main("tune", "", lambda config: job_function(root, "tune")(config, line), root, line, tree=TUNE) == 2
    told = capsys.readouterr().err
    assert reason in told and told.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.ray
def test_no_trial_joins_a_population_midway(whole: Told) -> None:
    assert known_population(whole.record, 4) == {trial.number: trial.values for trial in whole.record.trials}
    with pytest.raises(ConfigError, match="has 4 trials, and none joins or leaves"):
        known_population(whole.record, 5)
