"""Saves a run while it trains: a snapshot of its state is copied between two steps, and a thread writes it to disk."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from masklab.training.events import CheckpointSaved

if TYPE_CHECKING:
    from masklab.training.checkpoint.store import CheckpointStore

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """A copy of a run's state at `iteration`: weights by name, the optimizer's state and the plain values of `state.json`.

    Tensors stay on their device if that has room; the event `copied` marks when the copies on a GPU are complete.
    """

    iteration: int
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    state: Mapping[str, Any]
    copied: torch.cuda.Event | None = None

    @classmethod
    def of(cls, iteration: int, model: nn.Module, optimizer: Mapping[str, Any], state: Mapping[str, Any]) -> Snapshot:
        """Copy the state that training goes on to change. Waits for the device only if it has no room for a copy."""
        own = model.state_dict()
        copy = _clone if _fits([*own.values(), *_tensors(optimizer)]) else _copy_to_host
        weights = {name: copy(tensor).contiguous() for name, tensor in own.items()}
        moments = _mapped(optimizer, copy)
        copied = None
        if any(tensor.is_cuda for tensor in weights.values()):
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record()
        return cls(iteration, weights, moments, dict(state), copied)

    def on_host(self) -> Snapshot:
        """The same on the CPU. A GPU copies in its own stream, so that training need not wait."""
        if self.copied is None:
            return self._on_host()
        device = next(tensor.device for tensor in self.weights.values() if tensor.is_cuda)
        with torch.cuda.stream(torch.cuda.Stream(device)):  # type: ignore[no-untyped-call]
            self.copied.wait()
            return self._on_host()

    def _on_host(self) -> Snapshot:
        return Snapshot(self.iteration, _mapped(self.weights, Tensor.cpu), _mapped(self.optimizer, Tensor.cpu), self.state)


def _fits(tensors: Sequence[Tensor]) -> bool:
    on_gpu = [tensor for tensor in tensors if tensor.is_cuda]
    return not on_gpu or _has_room(on_gpu[0].device, sum(tensor.nbytes for tensor in on_gpu))


@cache
def _has_room(device: torch.device, size: int) -> bool:
    """Whether a GPU has `size` bytes free at the peak of training. Asked once, since torch then keeps the memory it has had."""
    return bool(size <= torch.cuda.mem_get_info(device)[0])


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping | list):
        for value in tree.values() if isinstance(tree, Mapping) else tree:
            yield from _tensors(value)


def _mapped(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, Mapping):
        return {key: _mapped(value, change) for key, value in tree.items()}
    return [_mapped(value, change) for value in tree] if isinstance(tree, list) else tree


def _clone(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def _copy_to_host(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


class AsyncSaver:
    """Writes one checkpoint at a time in a thread. An error in writing is raised by `collect`."""

    def __init__(self, store: CheckpointStore) -> None:
        self.store = store
        self._thread: threading.Thread | None = None
        self._iteration = 0
        self._outcome: Path | BaseException | None = None

    def begin(self, snapshot: Snapshot) -> None:
        """Start writing `snapshot`. Returns at once, unless `store.beside` is false."""
        assert self._thread is None, "collect the previous checkpoint first"
        self._iteration, self._outcome = snapshot.iteration, None
        # not a daemon: a process that ends waits for its last checkpoint
        self._thread = threading.Thread(target=self._write, args=(snapshot,), name=f"checkpoint {snapshot.iteration}")
        self._thread.start()
        if not self.store.beside:
            self._thread.join()

    def _write(self, snapshot: Snapshot) -> None:
        try:
            self._outcome = self.store.write(snapshot)
        except BaseException as error:
            self._outcome = error

    def collect(self, wait: bool = False) -> CheckpointSaved | None:
        """The checkpoint committed since the last call, if any. Raises the error of its writing."""
        if self._thread is None or (self._thread.is_alive() and not wait):
            return None
        self._thread.join()
        self._thread, outcome = None, self._outcome
        if isinstance(outcome, BaseException):
            raise outcome
        assert outcome is not None, "a thread that has ended leaves a path or an error"
        return CheckpointSaved(self._iteration, outcome)

    def close(self) -> None:
        """Wait for the checkpoint being written. Its error is only logged: the run ends for another reason, which is reported."""
        try:
            self.collect(wait=True)
        except Exception as error:
            log.warning("%s", error)
