"""A comparison on Ray and MLflow: stopped and resumed, added to, and with a run that fails."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jobs_of_tests import job_function
from metric_names import unlisted
from small_comparison import words

from masklab.config.command_line.main import main
from masklab.config.jobs.registry import COMPARE
from masklab.reporting.comparison.record import ComparisonRecord, CurveRecord, RunRecord
from masklab.reporting.comparison.terminal import ComparisonTerminal
from masklab.reporting.run.history import History

NAME = "pair"
CURRICULA = ["compare.curricula=[sticky,random]", "compare.controls=[uniform]", "compare.parallel=2", f"run.name={NAME}"]


@dataclass
class Told:
    """What one command did: its exit status, the runs that it ended, and what it put into the object store and sent to each run."""

    status: int = -1
    ended: list[str] = field(default_factory=list)
    objects: int = 0
    sent: list[int] = field(default_factory=list)
    record: ComparisonRecord | None = None

    def known(self, arm: str, seed: int) -> RunRecord:
        assert self.record
        return next(run for run in self.record.runs if (run.arm, run.seed) == (arm, seed))

    @property
    def statuses(self) -> list[str]:
        assert self.record
        return [run.status for run in self.record.runs]


Command = Callable[..., Told]


@pytest.fixture(scope="module")
def command(home: Path, root: Path, ray_cluster: Any) -> Command:
    """Runs `jobs/compare.py` in this process. `stop_after` runs have ended it is sent SIGTERM."""
    from masklab.cluster.compare import runner

    def run(*overrides: str, stop_after: int | None = None) -> Told:
        told, line = Told(), words(home, *CURRICULA, *overrides)
        ended, put, start = ComparisonTerminal.ended, ray_cluster.put, runner.ComparisonRunner.trial

        def end(self: ComparisonTerminal, record: ComparisonRecord, known: RunRecord) -> None:
            ended(self, record, known)
            told.ended.append(f"{known.arm}/{known.seed}")
            if len(told.ended) == stop_after:
                os.kill(os.getpid(), signal.SIGTERM)

        def count(value: Any) -> Any:
            told.objects += 1
            return put(value)

        def measure(self: runner.ComparisonRunner, *given: Any) -> Any:
            trial = start(self, *given)
            told.sent.append(len(ray_cluster.cloudpickle.dumps(trial)))
            return trial

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MASKLAB_HOME", str(home))
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            patch.setattr(ComparisonTerminal, "ended", end)
            patch.setattr(runner.ray, "put", count)
            patch.setattr(runner.ComparisonRunner, "trial", measure)
            told.status = main("compare", "", lambda config: job_function(root, "compare")(config, line), root, line, tree=COMPARE)
        told.record = ComparisonRecord.read(home / "runs" / NAME)
        return told

    return run


@pytest.fixture(scope="module")
def stopped(command: Command) -> Told:
    return command(stop_after=2)


@pytest.fixture(scope="module")
def resumed(stopped: Told, command: Command, home: Path) -> Told:
    before = summaries(home)
    told = command()
    assert before.items() <= summaries(home).items(), "a finished run was repeated"
    return told


def summaries(home: Path) -> dict[str, int]:
    """When each finished run wrote its summary, by its folder."""
    return {str(file.parent): file.stat().st_mtime_ns for file in (home / "runs" / NAME).glob("arms/*/*/summary.json")}


def kept_in_mlflow(home: Path) -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    return list(client.search_runs([e.experiment_id for e in client.search_experiments()]))


def artifacts(home: Path, run_id: str) -> set[str]:
    from mlflow.tracking import MlflowClient

    return {file.path for file in MlflowClient(f"sqlite:///{home}/mlflow.db").list_artifacts(run_id)}


pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]


def test_a_stopped_comparison_says_what_it_has(stopped: Told, home: Path) -> None:
    assert stopped.status == 130
    assert len(stopped.ended) == 2
    assert stopped.statuses.count("running") == 0
    assert 2 <= stopped.statuses.count("finished") < 6
    assert stopped.statuses[4:] == ["waiting"] * 2, "whole seeds come first"
    assert "RUNNING" not in {run.info.status for run in kept_in_mlflow(home)}


def test_the_same_command_goes_on_without_repeating_a_run(stopped: Told, resumed: Told, home: Path) -> None:
    assert resumed.status == 0
    assert resumed.statuses == ["finished"] * 6
    assert not set(stopped.ended) & set(resumed.ended)
    assert resumed.record and len(resumed.record.commands) == 1, "the same command, once"


def test_each_run_is_one_child_in_mlflow(resumed: Told, home: Path) -> None:
    kept = kept_in_mlflow(home)
    (parent,) = [run for run in kept if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in kept if run is not parent]
    assert sorted(run.info.run_name for run in children) == sorted(
        f"{arm}/seed-{seed}" for arm in ("uniform", "sticky", "random") for seed in (1, 2)
    )
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in kept} == {"FINISHED"}
    assert children[0].data.params.keys() == {"arm", "curriculum", "seed", "budget"}
    for run in children:
        assert (
            run.data.metrics["final/nelbo_nats"] == resumed.known(run.data.params["arm"], int(run.data.params["seed"])).outcome.nelbo_nats
        )  # type: ignore[union-attr]
    assert parent.data.metrics.keys() == {f"nelbo_nats/{arm}" for arm in ("uniform", "sticky", "random")}
    assert not unlisted(parent.data.metrics)
    assert "sticky" in parent.data.tags["mlflow.note.content"]
    assert {"comparison.json", "config.yaml", "table.md", "report.html", "report.md"} <= artifacts(home, parent.info.run_id)


def test_a_run_keeps_all_that_a_report_needs(resumed: Told, home: Path) -> None:
    known = resumed.known("random", 2)
    folder = home / "runs" / NAME / known.folder
    assert known.outcome and known.outcome.iterations == 20 and known.outcome.chars == 20 * 4 * 32
    assert sum(stage.iterations for stage in known.outcome.dwell) == 20
    assert [record.chars for record in History.read(folder).evaluations] == list(range(256, 2561, 256))
    curve = CurveRecord.read(folder)
    assert curve.mask_ratio == (0.25, 0.5, 0.75, 1.0) and curve.windows == 8
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step_000000020"]
    assert resumed.record and len(resumed.record.validation) == len(History.read(folder).evaluations[0].stage_losses)


def test_the_arms_of_a_seed_differ_only_by_their_masks(resumed: Told) -> None:
    outcomes = [run.outcome for run in resumed.record.runs if run.outcome] if resumed.record else []
    assert len({outcome.batches_digest for outcome in outcomes}) == 6
    assert len({(outcome.chars, outcome.parameters) for outcome in outcomes}) == 1


def test_the_object_store_holds_corpus_and_pools_once_for_all_runs(resumed: Told) -> None:
    assert resumed.objects == 2
    assert len(resumed.sent) >= 2
    assert max(resumed.sent) < 100 * 1024, "what is larger goes through the object store, run by run"


@pytest.fixture(scope="module")
def added(resumed: Told, command: Command, home: Path) -> tuple[Told, dict[str, int]]:
    """One more seed, under which the run of one arm cannot begin."""
    before = summaries(home)
    damaged = home / "runs" / NAME / "arms" / "uniform" / "seed-3" / "history.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    told = command("compare.seeds=3")
    damaged.unlink()
    return told, before


def test_a_seed_that_is_added_is_all_that_is_trained(added: tuple[Told, dict[str, int]], home: Path) -> None:
    told, before = added
    assert sorted(told.ended) == ["random/3", "sticky/3", "uniform/3"]
    assert before.items() <= summaries(home).items()
    assert told.record and told.record.seeds == (1, 2, 3) and len(told.record.commands) == 2


def test_a_run_that_fails_is_recorded_and_the_rest_goes_on(added: tuple[Told, dict[str, int]]) -> None:
    told, _ = added
    assert told.status == 1
    failed = told.known("uniform", 3)
    assert failed.status == "failed" and "history.json cannot be read" in failed.reason
    assert told.statuses.count("finished") == 8
    assert told.record and told.record.nelbos()["uniform"][3] is None


def test_what_failed_is_tried_again_and_a_finished_comparison_is_only_shown(
    added: tuple[Told, dict[str, int]], command: Command, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = command("compare.seeds=3")
    assert (again.status, again.ended) == (0, ["uniform/3"])
    assert len(kept_in_mlflow(home)) == 1 + 9
    capsys.readouterr()
    shown = command("compare.seeds=3")
    assert (shown.status, shown.ended, shown.objects) == (0, [], 0)
    assert "finished already" in capsys.readouterr().out


def test_a_run_that_was_cut_off_goes_on_from_its_checkpoint_to_the_same_end(resumed: Told, command: Command, home: Path) -> None:
    folder = home / "runs" / NAME / resumed.known("sticky", 1).folder
    before = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").unlink()
    again = command("compare.seeds=3")
    assert again.ended == ["sticky/1"]
    after = json.loads((folder / "summary.json").read_text())
    assert after["seconds_to_first_step"] is None, "no step was taken again"
    assert (after["nelbo"], after["batches_digest"]) == (before["nelbo"], before["batches_digest"])


def test_a_report_trains_nothing(resumed: Told, home: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASKLAB_HOME", str(home))
        line = [f"report={NAME}"]
        assert main("compare", "", lambda config: job_function(root, "compare")(config, line), root, line, tree=COMPARE) == 0
    printed = capsys.readouterr().out
    assert f"report: {home}/runs/{NAME}/report.html" in printed
    assert all(arm in printed for arm in ("uniform", "sticky", "random"))
