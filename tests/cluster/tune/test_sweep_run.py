"""A sweep on Ray Tune and MLflow: stopped and resumed, with a trial that fails, and what is refused before anything starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jobs_of_tests import job_function
from metric_names import unlisted
from tiers import is_full

from masklab.cluster.connection import Share
from masklab.cluster.session import RunSession
from masklab.cluster.tune.driver import opening_record, trials_at_a_time
from masklab.cluster.tune.plan import SweepPlan
from masklab.config.command_line.main import main
from masklab.config.compose.composition import compose_tree
from masklab.config.compose.yaml_io import dump
from masklab.config.jobs.registry import TUNE
from masklab.config.jobs.tune import TuneConfig
from masklab.errors import RunError
from masklab.reporting.sweep.record import SweepRecord, TrialRecord
from masklab.reporting.sweep.tables import SweepTerminal

NAME = "search"
SPACE = 'sweep.space={training.learning_rate: "log(1e-4,1e-2)", curriculum: "choice(sticky,random)"}'


@dataclass
class Told:
    """What one command did: its exit status, the trials that it ended, and what it put into the object store."""

    status: int = -1
    ended: list[str] = field(default_factory=list)
    objects: int = 0
    held: list[int] = field(default_factory=list)
    """How many of those the store still held whenever a trial had ended."""
    record: SweepRecord | None = None

    @property
    def statuses(self) -> list[str]:
        assert self.record
        return [trial.status for trial in self.record.trials]


Command = Callable[..., Told]
pytestmark = pytest.mark.timeout(240)


def words(home: Path, *overrides: str) -> list[str]:
    """The command line: one layer of 16 channels on blocks of 32 characters, 20 steps, unless `overrides` say otherwise."""
    return [
        *("dataset=text", f"dataset.path={home / 'text.txt'}", f"run.name={NAME}", "sweep.parallel=2"),
        *("model.n_layer=1", "model.n_head=2", "model.n_embd=16"),
        *(
            "training.batch_size=4",
            "training.block_size=32",
            "training.eval_interval=5",
            "training.warmup_iters=2",
            "training.max_iters=20",
        ),
        *("validation.sequences=6", "validation.nelbo_sequences=16", "validation.final_nelbo_sequences=32", "sampling.steps=4"),
        *overrides,
    ]


@pytest.fixture(scope="module")
def command(home: Path, root: Path, ray_cluster: Any) -> Command:
    """Runs `jobs/tune.py` in this process. `stop_after` trials have ended it is sent SIGTERM."""

    def run(*overrides: str, stop_after: int | None = None) -> Told:
        told, line = Told(), words(home, *overrides)
        ended, put = SweepTerminal.ended, ray_cluster.put
        numbers: list[str] = []

        def end(self: SweepTerminal, record: SweepRecord, known: TrialRecord) -> None:
            ended(self, record, known)
            told.ended.append(known.name)
            known_to_ray = ray_cluster._private.worker.global_worker.core_worker.get_all_reference_counts()
            told.held.append(sum(number in known_to_ray for number in numbers))
            if len(told.ended) == stop_after:
                os.kill(os.getpid(), signal.SIGTERM)

        def count(value: Any) -> Any:
            told.objects += 1
            reference = put(value)
            numbers.append(reference.hex())
            return reference

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MASKLAB_HOME", str(home))
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            patch.setattr(SweepTerminal, "ended", end)
            patch.setattr(ray_cluster, "put", count)
            told.status = main("tune", "", lambda config: job_function(root, "tune")(config, line), root, line, tree=TUNE)
        told.record = SweepRecord.read(home / "runs" / compose_tree(TUNE, line, root).run.name)  # type: ignore[attr-defined]
        return told

    return run


def planned(home: Path, root: Path, *overrides: str) -> SweepPlan:
    line = words(home, *overrides)
    config = compose_tree(TUNE, line, root)
    assert isinstance(config, TuneConfig)
    return SweepPlan.of(config, line, root, home, 0.0)


def summaries(home: Path) -> dict[str, int]:
    """When each finished trial wrote its summary, by its name."""
    return {file.parent.name: file.stat().st_mtime_ns for file in (home / "runs" / NAME).glob("trials/*/summary.json")}


def kept_in_mlflow(home: Path) -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    return list(client.search_runs([e.experiment_id for e in client.search_experiments()]))


@pytest.fixture(scope="module")
def stopped(command: Command) -> Told:
    return command(SPACE, "sweep.num_trials=4", stop_after=1)


@pytest.fixture(scope="module")
def failed(stopped: Told, command: Command, home: Path, root: Path) -> tuple[Told, dict[str, int]]:
    """The same command once more; one trial cannot go on."""
    before = summaries(home)
    last = planned(home, root, SPACE, "sweep.num_trials=4").trials[3]
    last.folder.begin(dump(last.config))
    last.folder.write("history.json", "{")
    told = command(SPACE, "sweep.num_trials=4")
    (last.folder.path / "history.json").unlink()
    return told, before


@pytest.fixture(scope="module")
def resumed(failed: tuple[Told, dict[str, int]], command: Command) -> Told:
    return command(SPACE, "sweep.num_trials=4")


@pytest.mark.ray
def test_a_stopped_sweep_says_what_it_has(stopped: Told, home: Path) -> None:
    assert stopped.status == 130
    assert "finished" in stopped.statuses and "running" not in stopped.statuses
    assert stopped.statuses[3] == "waiting"
    assert "RUNNING" not in {run.info.status for run in kept_in_mlflow(home)}


@pytest.mark.ray
def test_a_trial_that_fails_is_recorded_and_the_rest_goes_on(failed: tuple[Told, dict[str, int]], home: Path) -> None:
    told, before = failed
    assert told.status == 1
    assert told.statuses == ["finished", "finished", "finished", "failed"]
    assert told.record and "history.json cannot be read" in told.record.trials[3].reason
    assert before.items() <= summaries(home).items(), "a finished trial was repeated"


@pytest.mark.ray
def test_the_same_command_goes_on_with_what_is_missing(resumed: Told) -> None:
    assert (resumed.status, resumed.ended) == (0, ["003"])
    assert resumed.statuses == ["finished"] * 4
    assert resumed.record and len(resumed.record.commands) == 1


@pytest.mark.ray
def test_each_trial_is_one_child_with_the_varied_parameters_only(resumed: Told, home: Path) -> None:
    kept = kept_in_mlflow(home)
    (parent,) = [run for run in kept if "mlflow.parentRunId" not in run.data.tags]
    children = {run.info.run_name: run for run in kept if run is not parent}
    assert sorted(children) == [f"{NAME}/{number:03d}" for number in range(4)]
    assert len(kept) == 5 and {run.info.status for run in kept} == {"FINISHED"}
    assert resumed.record and resumed.record.best
    for trial in resumed.record.trials:
        child = children[f"{NAME}/{trial.name}"]
        assert child.data.params == {key: str(value) for key, value in trial.values.items()}
        assert child.data.metrics["final/nelbo_nats"] == trial.nelbo_nats
    assert parent.data.metrics["best/nelbo_nats"] == resumed.record.best.nelbo_nats
    assert not unlisted(parent.data.metrics)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    sent = {file.path for folder in (None, "figures") for file in client.list_artifacts(parent.info.run_id, folder)}
    assert {"sweep.json", "config.yaml", "table.md", "figures/history.png", "figures/coordinates.png", "figures/importance.png"} <= sent
    assert resumed.record.retrain and resumed.record.retrain in parent.data.tags["mlflow.note.content"]


@pytest.mark.ray
def test_the_object_store_holds_each_thing_once_for_all_trials(failed: tuple[Told, dict[str, int]], resumed: Told) -> None:
    told, _ = failed
    assert told.objects <= 3, "the corpus, and pools for each of two curricula"
    assert resumed.objects == 2


@pytest.mark.ray
def test_the_object_store_does_not_grow_with_trials_that_share_nothing(command: Command) -> None:
    space = 'sweep.space={curriculum.stages.0.mask_ratio: "uniform(0.1,0.3)"}'
    told = command(space, "curriculum=sticky", "run.name=apart", "sweep.num_trials=5", "sweep.parallel=1", "tracking.enabled=false")
    assert told.statuses == ["finished"] * 5
    assert told.objects == 6, "the corpus, and pools for each of five curricula"
    assert max(told.held) <= 3, "the corpus, and pools for the trial that has ended and for the next"


@pytest.mark.ray
def test_the_command_of_the_best_trains_it_to_the_same_figures(resumed: Told, home: Path, root: Path) -> None:
    assert resumed.record and resumed.record.best and resumed.record.retrain
    import shlex

    from masklab.config.compose.composition import compose

    config = compose(shlex.split(resumed.record.retrain)[2:], root)
    best = planned(home, root, SPACE, "sweep.num_trials=4").trials[resumed.record.best.number]
    assert config.recipe == best.config.recipe


@pytest.mark.ray
def test_a_finished_sweep_is_only_shown(resumed: Told, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    shown = command(SPACE, "sweep.num_trials=4")
    assert (shown.status, shown.ended, shown.objects) == (0, [], 0)
    printed = capsys.readouterr().out
    assert "finished already" in printed and "python jobs/train.py" in printed


@pytest.mark.ray
def test_halving_stops_what_is_worse_after_its_grace_and_nothing_else(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    worse = ["1e-7", "2e-7"] if is_full() else ["1e-7"]
    rates = f'sweep.space={{training.learning_rate: "choice(1e-2,{",".join(worse)})"}}'
    asked = [rates, "run.name=halved", "sweep.search=grid", "sweep.scheduler=asha", "sweep.grace=0.2", "tracking.enabled=false"]
    told = command(*asked, "sweep.parallel=1")
    assert told.statuses == ["finished", *["stopped"] * len(worse)]
    assert told.record
    chars = [trial.chars for trial in told.record.trials]
    assert chars == [20 * 4 * 32, *[5 * 4 * 32] * len(worse)], "the grace ends with step 4, and the next evaluation is at step 5"
    assert "raise sweep.grace to 0.25" in capsys.readouterr().out, "the second stage of annealed begins at step 5"
    again = command(*asked, "sweep.parallel=1")
    assert (again.status, again.ended) == (0, []), "what was stopped is not taken up again"


@pytest.mark.ray
def test_a_guided_search_goes_on_from_what_it_found(command: Command) -> None:
    asked = [SPACE, "run.name=guided", "sweep.search=optuna", "tracking.enabled=false"]
    first = command(*asked, "sweep.num_trials=1")
    second = command(*asked, "sweep.num_trials=2")
    assert (first.ended, second.ended) == (["000"], ["001"])
    assert first.record and second.record and second.record.trials[0] == first.record.trials[0]
    assert second.record.trials[0].values != second.record.trials[1].values


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (['sweep.space={training.lerning_rate: "uniform(1e-3,1e-2)"}'], "did you mean 'learning_rate'"),
        (['sweep.space={curriculum: "choice(sticky,stiky)"}', "sweep.search=grid"], "did you mean 'sticky'"),
        (['sweep.space={curriculum.stages.7.mask_ratio: "uniform(0.3,0.6)"}'], "numbered 0 to 3"),
        (['sweep.space={model.n_head: "choice(2,3)"}', "sweep.search=grid"], "n_embd"),
        ([SPACE, "sweep.num_trials=0"], "must be at least 1"),
        ([SPACE, "training.max_iters=4"], "before the first evaluation"),
        (['sweep.space={training.batch_size: "int(2,8)"}'], "other numbers of characters in each trial"),
        ([SPACE, "sweep.search=grid", "sweep.num_trials=5"], "the grid has 6 points"),
        (['sweep.space={ramp.start: "uniform(0.1,1.5)", curriculum: "choice(ramp)"}', "sweep.search=optuna"], "must be below 1"),
        ([SPACE, "sweep.scheduler=asha", "training.max_iters=null", "training.max_minutes=1"], "equal numbers of characters"),
        ([SPACE, "scaling.num_workers=2", "scaling.gpus_per_trial=0.5"], "takes a whole GPU"),
        ([], "nothing to search over"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_before_anything_starts(
    tmp_path: Path, text: str, root: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], reason: str
) -> None:
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    line = words(tmp_path, *overrides)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASKLAB_HOME", str(tmp_path))
        assert main("tune", "", lambda config: job_function(root, "tune")(config, line), root, line, tree=TUNE) == 2
    told = capsys.readouterr().err
    assert reason in told and told.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_trials_share_a_gpu_where_they_are_told_to() -> None:
    nodes = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 1.0, "GPU": 4.0}]
    assert trials_at_a_time(nodes, Share(1, 1, 0), 0.0) == 9
    assert trials_at_a_time(nodes, Share(1, 1, 1), 1.0) == 3
    assert trials_at_a_time(nodes, Share(1, 1, 1), 0.5) == 5
    assert trials_at_a_time(nodes, Share(1, 2, 1), 0.34) == 4


def test_trials_of_several_workers_are_as_many_as_have_room_for_all_of_theirs() -> None:
    nodes = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 1.0, "GPU": 4.0}]
    assert trials_at_a_time(nodes, Share(2, 1, 0), 0.0) == 4
    assert trials_at_a_time(nodes, Share(2, 2, 0), 0.0) == 2
    assert trials_at_a_time(nodes, Share(3, 1, 1), 1.0) == 1


@pytest.mark.parametrize("spelling", ["sweep.gpus_per_trial", "scaling.gpus_per_trial"])
def test_a_share_of_a_gpu_has_two_names_and_is_no_part_of_the_best_trials_command(
    tmp_path: Path, text: str, root: Path, spelling: str
) -> None:
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    plan = planned(tmp_path, root, SPACE, f"{spelling}=0.25")
    assert plan.config.sweep.gpus_per_trial == 0.25
    assert not any("gpus_per_trial" in word for word in plan.retraining({}))


@pytest.mark.full
@pytest.mark.ray
def test_four_trials_share_the_gpu_that_one_would_take(tmp_path: Path, text: str, root: Path) -> None:
    """On a cluster of its own, which says that it has a GPU; the trials meet, and then need none."""
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    line = words(tmp_path, SPACE, "sweep.num_trials=4", "sweep.parallel=4", "scaling.gpus_per_trial=0.25", "tracking.enabled=false")
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {"MASKLAB_HOME": str(tmp_path)}
    environment["PYTHONPATH"] = str(root / "platform")
    script = [sys.executable, Path(__file__).parents[2] / "support" / "gpu_meeting.py", root, *line]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    record = SweepRecord.read(tmp_path / "runs" / NAME)
    assert [(trial.status, trial.reason) for trial in record.trials] == [("stopped", "")] * 4
    assert len(list((tmp_path / "meeting").iterdir())) == 4


@pytest.mark.ray
def test_trials_of_several_workers_are_stopped_with_their_workers_and_finished_by_them(command: Command, ray_cluster: Any) -> None:
    worse = ["1e-7", "2e-7"] if is_full() else ["1e-7"]
    rates = f'sweep.space={{training.learning_rate: "choice(1e-2,{",".join(worse)})"}}'
    halved = ["run.name=nested", "sweep.search=grid", "sweep.scheduler=asha", "sweep.grace=0.2", "scaling.num_workers=2"]
    told = command(rates, *halved, "sweep.parallel=1")
    assert told.record
    expected = ["finished", *("stopped" for _ in worse)]
    assert told.statuses == expected, "one that follows on another that was stopped is trained all the same"
    assert [trial.chars for trial in told.record.trials] == [20 * 4 * 32, *(5 * 4 * 32 for _ in worse)]
    assert told.record.trials[0].nelbo_nats and told.record.trials[0].overhead_seconds
    deadline = time.monotonic() + 30
    while ray_cluster.available_resources().get("CPU") != ray_cluster.cluster_resources()["CPU"]:
        assert time.monotonic() < deadline, "workers of a trial that was stopped still hold their cores"
        time.sleep(0.1)


@pytest.mark.ray
def test_a_worker_that_fails_is_a_failed_trial_with_its_reason(command: Command, home: Path, root: Path) -> None:
    asked = [SPACE, "run.name=broken", "sweep.num_trials=1", "scaling.num_workers=2", "tracking.enabled=false"]
    plan = planned(home, root, *asked)
    (trial,) = plan.trials
    plan.folder.begin(dump(plan.config))
    trial.folder.begin(dump(trial.config))
    trial.folder.checkpoints.write_text("no folder")
    told = command(*asked)
    assert (told.status, told.statuses) == (1, ["failed"])
    assert told.record and "checkpoints" in told.record.trials[0].reason


def test_the_points_of_a_longer_search_begin_with_those_of_a_shorter_one(tmp_path: Path, text: str, root: Path) -> None:
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    short, long = (planned(tmp_path, root, SPACE, f"sweep.num_trials={n}").trials for n in (2, 5))
    assert [trial.point for trial in long[:2]] == [trial.point for trial in short]
    assert json.loads(json.dumps(long[4].point)) == long[4].point


def test_trials_that_are_asked_for_no_more_are_not_waited_for(tmp_path: Path, text: str, root: Path) -> None:
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    plan = planned(tmp_path, root, SPACE, "sweep.num_trials=3")
    record = opening_record(plan, "")
    plan.folder.begin(dump(plan.config))
    statuses = ("finished", "stopped", "interrupted")
    for known, status in zip(record.trials, statuses, strict=True):
        record = record.with_trial(TrialRecord.model_validate(known.model_dump() | {"status": status}))
    record.write(plan.folder.path)
    assert [trial.number for trial in opening_record(planned(tmp_path, root, SPACE, "sweep.num_trials=2"), "").trials] == [0, 1]
    assert len(opening_record(planned(tmp_path, root, SPACE, "sweep.num_trials=3"), "").trials) == 3


def test_a_trial_that_tune_gives_up_is_a_failed_one(tmp_path: Path, text: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from masklab.cluster.tune import runner as module

    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    monkeypatch.setattr("ray.put", lambda value: value)
    monkeypatch.setattr(module.tune, "run", lambda *_, search_alg, **__: search_alg.suggest("a trial of Tune"))
    plan = planned(tmp_path, root, SPACE, "sweep.num_trials=2", "tracking.enabled=false")
    plan.folder.begin(dump(plan.config))
    runner = module.SweepRunner(RunSession(plan, opening_record(plan, "")), Share(1, 1, 0), SweepTerminal(2, 1))
    runner.run(plan.trials, 1, 0.0)
    assert [trial.status for trial in runner.record.trials] == ["failed", "waiting"]
    assert "gave it up" in runner.record.trials[0].reason


def test_a_suggestion_that_was_noted_but_never_begun_is_taken_up(tmp_path: Path, text: str, root: Path) -> None:
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    asked = [SPACE, "sweep.search=optuna", "sweep.num_trials=2"]
    plan = planned(tmp_path, root, *asked)
    plan.folder.begin(dump(plan.config))
    point = {"training.learning_rate": 1e-3, "curriculum": "random"}
    known = TrialRecord(number=0, values=point, curriculum="random")
    unfit = TrialRecord(number=1, values=point, curriculum="random", status="failed", reason="unfit")
    opening_record(plan, "").with_trial(known).with_trial(unfit).write(plan.folder.path)
    plan = planned(tmp_path, root, *asked)
    assert [(trial.number, trial.point) for trial in plan.trials] == [(0, point)]
    assert [trial.status for trial in opening_record(plan, "").trials] == ["waiting", "failed"]


def test_a_command_that_began_while_another_was_at_work_says_so(tmp_path: Path, text: str, root: Path) -> None:
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    plan = planned(tmp_path, root, SPACE, "sweep.num_trials=2", "tracking.enabled=false")
    record = opening_record(plan, "")
    session = RunSession(plan, record)
    with session.opened():
        session.note(session.record)
    with pytest.raises(RunError, match="give it again"), RunSession(plan, record).opened():
        pass
    again = planned(tmp_path, root, SPACE, "sweep.num_trials=2", "tracking.enabled=false")
    session = RunSession(again, record)
    with session.opened():
        assert session.record == record


def test_a_suggestion_that_is_unfit_is_a_failed_trial_with_its_reason(
    tmp_path: Path, text: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from masklab.cluster.tune import runner as module
    from masklab.cluster.tune.optuna_search import Suggestions

    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    monkeypatch.setattr("ray.put", lambda value: value)
    space = 'sweep.space={model.n_embd: "int(16,20)"}'  # both ends go with 2 heads, and 17, 18 and 19 do not
    plan = planned(tmp_path, root, space, "sweep.search=optuna", "sweep.num_trials=12", "tracking.enabled=false")
    runner = module.SweepRunner(RunSession(plan, opening_record(plan, "")), Share(1, 1, 0), SweepTerminal(12, 1))
    runner._suggestions = Suggestions(plan.config.sweep.distributions, 0, 12)
    begun = []
    while payload := runner.begin():
        begun.append(payload.number)
    trials = runner.record.trials
    assert [trial.number for trial in trials] == list(range(12))
    assert {trial.values["model.n_embd"] for trial in trials if trial.number in begun} <= {16, 20}
    failed = [trial for trial in trials if trial.status == "failed"]
    assert failed and len(failed) + len(begun) == 12
    assert all("n_embd" in trial.reason and f"trial {trial.number}" in trial.reason for trial in failed)
    assert SweepRecord.read(plan.folder.path) == runner.record


def test_a_grid_wants_its_own_points_whatever_number_a_file_gives(tmp_path: Path, text: str, root: Path) -> None:
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    plan = planned(tmp_path, root, SPACE, "sweep.search=grid", "sweep.grid_points=2", "sweep.num_trials=9")
    assert plan.wanted == len(plan.trials) < 9


def test_what_tune_observes_is_passed_to_the_store_and_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from types import SimpleNamespace

    from masklab.cluster.tune.ray_tune import PAYLOAD, TuneCallback

    told: list[tuple[int, bool]] = []
    store: Any = SimpleNamespace(reported=lambda number, result: None, ended=lambda number, *, failed: told.append((number, failed)))
    trial = SimpleNamespace(config={PAYLOAD: SimpleNamespace(number=3)}, last_result={})
    callback = TuneCallback(store)
    callback.on_trial_complete(0, [], trial)
    callback.on_trial_error(0, [], trial)
    assert told == [(3, False), (3, True)]
    assert capsys.readouterr().out == ""
