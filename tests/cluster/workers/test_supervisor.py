"""Which failures of workers are tried again, how often, and with how many workers; without a cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, NodeDiedError, OutOfMemoryError

from masklab.cluster.connection import Share, share_among
from masklab.cluster.workers import supervisor as supervision
from masklab.cluster.workers.events import PREEMPTION
from masklab.cluster.workers.supervisor import MORE_ROOM, Supervisor, is_loss
from masklab.errors import ResourceError, RunError
from masklab.training.events import RunStopped, WorkersReplaced
from masklab.training.settings import ScalingSettings
from masklab.training.stop import StopRequest

PEER = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]:3456")


@pytest.mark.parametrize(
    "error", [ActorDiedError(), ActorUnavailableError("away", b"1" * 16), NodeDiedError(""), OutOfMemoryError(""), PEER]
)
def test_a_process_that_is_gone_is_a_loss(error: BaseException) -> None:
    assert is_loss(error)


@pytest.mark.parametrize(
    "error", [RunError("a mistake"), ResourceError("no room"), ValueError("a fault"), RuntimeError("a fault"), KeyError("a")]
)
def test_a_mistake_or_a_fault_is_none(error: BaseException) -> None:
    assert not is_loss(error)


Attempt = Callable[["Bench"], RunStopped | None]


class Bench:
    """A supervisor whose workers are the given attempts, each of which may save, raise or return; and all that it was told."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path, scaling: ScalingSettings, share: Share, *attempts: Attempt) -> None:
        self.saved, self.shares, self.events = 0, [], []  # type: ignore[var-annotated]
        self.nodes = [{"CPU": 1.0}] * share.workers
        waiting = iter(attempts)

        def run(_assignment: Any, share: Share, *_: Any) -> RunStopped | None:
            self.shares.append(share)
            return next(waiting)(self)

        patch.setattr(supervision, "run_workers", run)
        patch.setattr(supervision, "replace", lambda one, **changes: one if one is spec else Share(**vars(one) | changes))
        patch.setattr(supervision, "nodes_of_the_cluster", lambda: self.nodes)
        patch.setattr(supervision, "has_room", lambda _share, workers, _patience: workers <= len(self.nodes))
        patch.setattr(supervision, "iteration_reached", lambda _: self.saved)
        recipe = SimpleNamespace(training=SimpleNamespace(rows_per_step=8))
        spec = SimpleNamespace(recipe=recipe, checkpoints=folder)
        self.request = StopRequest()
        self.supervisor = Supervisor(spec, scaling, share, folder, self.events.append, self.request)  # type: ignore[arg-type]

    def lose(self, saved: int, nodes: int = 1) -> None:
        self.saved, self.nodes = saved, [{"CPU": 1.0}] * nodes
        raise ActorDiedError


def test_losses_are_counted_anew_after_each_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    losses: list[Attempt] = [lambda b, at=at: b.lose(at) for at in (5, 5, 10, 10, 15)]  # type: ignore[misc]
    bench = Bench(monkeypatch, tmp_path, ScalingSettings(max_failures=2), Share(1, 1, 0), *losses, lambda _: None)
    assert bench.supervisor.run() is None
    assert [event.iteration for event in bench.events] == [5, 5, 10, 10, 15]
    assert all(isinstance(event, WorkersReplaced) for event in bench.events)


def test_too_many_losses_in_a_row_end_the_run_with_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bench = Bench(monkeypatch, tmp_path, ScalingSettings(max_failures=2), Share(1, 1, 0), *[lambda b: b.lose(5)] * 3)
    with pytest.raises(RunError, match="lost 3 times in a row at iteration 5"):
        bench.supervisor.run()


def test_a_fault_of_the_loop_is_not_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(_: Bench) -> None:
        raise ValueError("a fault")

    bench = Bench(monkeypatch, tmp_path, ScalingSettings(), Share(1, 1, 0), fail)
    with pytest.raises(ValueError, match="a fault"):
        bench.supervisor.run()
    assert len(bench.shares) == 1


def test_a_loss_after_a_signal_ends_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def lose(bench: Bench) -> None:
        bench.request.ask("SIGTERM")
        bench.lose(5)

    bench = Bench(monkeypatch, tmp_path, ScalingSettings(), Share(1, 1, 0), lose)
    with pytest.raises(KeyboardInterrupt):
        bench.supervisor.run()


def test_a_loss_after_the_last_event_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "summary.json").touch()
    bench = Bench(monkeypatch, tmp_path, ScalingSettings(max_failures=0), Share(1, 1, 0), lambda b: b.lose(5))
    assert bench.supervisor.run() is None


def test_an_elastic_run_follows_the_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def preempt(bench: Bench) -> RunStopped:
        bench.saved, bench.nodes = 10, [{"CPU": 1.0}]
        return RunStopped(10, PREEMPTION)

    def grow(bench: Bench) -> RunStopped:
        bench.saved, bench.nodes = 15, [{"CPU": 1.0}] * 4
        bench.supervisor._look_at = -1e9
        assert bench.supervisor._look() == MORE_ROOM
        assert bench.supervisor._look() is None, "not asked again at once"
        return RunStopped(15, MORE_ROOM)

    scaling = ScalingSettings(num_workers=(1, 4))
    bench = Bench(monkeypatch, tmp_path, scaling, Share(4, 1, 0), lambda b: b.lose(5, nodes=3), preempt, grow, lambda _: None)
    assert bench.supervisor.run() is None
    assert [share.workers for share in bench.shares] == [4, 2, 1, 4], "3 workers cannot split 8 sequences evenly"
    assert [event.workers for event in bench.events] == [2, 1, 4]


def test_a_rigid_run_ends_when_a_node_is_about_to_be_taken_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stopped = RunStopped(10, PREEMPTION)
    bench = Bench(monkeypatch, tmp_path, ScalingSettings(num_workers=2), Share(2, 1, 0), lambda _: stopped)
    assert bench.supervisor.run() is stopped
    assert bench.supervisor._look() is None


@pytest.mark.parametrize(
    ("scaling", "nodes", "share"),
    [
        ({"num_workers": (1, 4)}, [{"CPU": 8}], Share(4, 2, 0)),
        ({"num_workers": (1, 4)}, [{"CPU": 3}], Share(2, 1, 0)),
        ({"num_workers": (1, 4)}, [{"CPU": 1}], Share(1, 1, 0)),
        ({"num_workers": (1, 4), "cpus_per_worker": 2}, [{"CPU": 3}, {"CPU": 2}], Share(2, 2, 0)),
        ({"num_workers": (1, 4)}, [{"CPU": 8, "GPU": 1}], Share(1, 8, 1)),
        ({"num_workers": (2, 4)}, [{"CPU": 8, "GPU": 1}], Share(4, 2, 0)),
        ({"num_workers": 2}, [{"CPU": 8}], Share(2, 4, 0)),
    ],
)
def test_a_run_takes_as_many_workers_as_there_is_room_for(scaling: dict[str, Any], nodes: list[dict[str, float]], share: Share) -> None:
    assert share_among(ScalingSettings.model_validate(scaling), nodes, 8) == share


def test_fewer_workers_than_will_do_are_refused_with_the_numbers() -> None:
    with pytest.raises(ResourceError, match=r"num_workers=2 with 4 CPU core\(s\) each needs 8, but the cluster has 6"):
        share_among(ScalingSettings(num_workers=(2, 4), cpus_per_worker=4), [{"CPU": 6}], 8)


def test_the_fewest_come_before_the_most() -> None:
    with pytest.raises(ValueError, match=r"must be the fewest and the most, as \[1,4\]"):
        ScalingSettings(num_workers=(4, 1))
