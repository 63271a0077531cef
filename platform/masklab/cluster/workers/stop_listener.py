"""A worker's ear for whatever ends a run from outside: the driver's word, and Ray's notice that a node is about to be taken away."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

import ray
from ray.exceptions import RayError

from masklab.cluster.workers.events import LIMIT, StopWord
from masklab.training.stop import StopRequest

log = logging.getLogger(__name__)

PREEMPTION = "a node is about to be taken away"
"""The reason that is told where Ray has given notice."""
LOOK_SECONDS = 1.0
"""How often a worker looks whether Ray has given notice. The driver's word comes at once."""


def listen_for_stops(relay: Any, request: StopRequest) -> None:
    """Pass on to `request`, from a thread of this worker, what the driver and Ray say, as long as the process lives."""
    threading.Thread(target=_listen, args=(relay, request), name="masklab-stops", daemon=True).start()


def _listen(relay: Any, request: StopRequest) -> None:
    known: StopWord | None = None
    while True:
        try:
            word = ray.get(relay.asked_to_stop.remote(known, LOOK_SECONDS), timeout=LIMIT)
        except RayError as error:  # nobody is left who would tell, or see what this run does
            request.ask(f"the driver cannot be reached ({type(error).__name__})")
            return
        if word is not None and word != known:
            known = word
            if word.at_once:
                os._exit(1)
            request.ask(word.reason)
        if is_preempted():
            request.ask(PREEMPTION)


def is_preempted() -> bool:
    """Whether Ray has marked this worker's group: some node of it is to be drained.

    The public `ray.train.get_preemption_info` lets all ranks meet, which a thread beside the loop must not do.
    """
    try:
        from ray.train.v2._internal.execution.context import get_train_context

        return get_train_context().preemption_context.preemption_info is not None
    except (ImportError, AttributeError, RuntimeError):  # another version of Ray, or no worker of Train
        return False
