"""What is told of workers that have failed."""

from __future__ import annotations

import pytest
from ray.exceptions import ActorDiedError
from ray.train import ControllerError, WorkerGroupError

from masklab.cluster.workers.worker_group import cause_of
from masklab.errors import ResourceError, RunError

mistake, death, fault = RunError("history.json cannot be read"), ActorDiedError(), RuntimeError("Connection closed by peer")


@pytest.mark.parametrize(
    ("raised", "cause"),
    [
        (WorkerGroupError("", {0: fault}), fault),
        (WorkerGroupError("", {0: fault, 1: death}), death),
        (WorkerGroupError("", {0: fault, 1: death, 2: mistake}), mistake),
        (ControllerError(fault), fault),
        (fault, fault),
        (mistake, mistake),
    ],
)
def test_the_cause_is_a_mistake_before_a_death_before_what_follows_from_it(raised: BaseException, cause: BaseException) -> None:
    assert cause_of(raised) is cause


def test_an_error_with_a_cause_of_its_own_stays_what_it_is() -> None:
    fault = RuntimeError("cannot go on")
    fault.__cause__ = KeyError("a")
    assert cause_of(WorkerGroupError("", {0: fault})) is fault


def test_interrupts_are_their_own_cause() -> None:
    interrupt = KeyboardInterrupt()
    assert cause_of(interrupt) is interrupt


def test_no_room_for_the_workers_is_told_as_such() -> None:
    class WorkerGroupStartupTimeoutError(Exception):
        pass

    assert isinstance(cause_of(ControllerError(WorkerGroupStartupTimeoutError())), ResourceError)
