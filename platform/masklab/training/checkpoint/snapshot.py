"""What a checkpoint is written from: a copy of a run's state at one iteration, which training no longer changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Snapshot:
    """Weights by name, the optimizer's state and the plain values of `state.json`, all of `iteration`.

    Tensors lie where they were, on the device, if that has room; `copied` is the moment from which the copies there are whole, on a GPU.
    """

    iteration: int
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    state: Mapping[str, Any]
    copied: torch.cuda.Event | None = None

    @classmethod
    def of(cls, iteration: int, model: nn.Module, optimizer: Mapping[str, Any], state: Mapping[str, Any]) -> Snapshot:
        """Copy what training goes on to change. Waits for the device only where that has no room for a copy."""
        own = model.state_dict()
        to_host = not _fits([*own.values(), *_tensors(optimizer)])
        weights = {name: _copy(tensor, to_host).contiguous() for name, tensor in own.items()}
        moments = _copy(optimizer, to_host)
        copied = None
        if any(tensor.is_cuda for tensor in weights.values()):
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record()
        return cls(iteration, weights, moments, dict(state), copied)

    def on_host(self) -> Snapshot:
        """The same on the CPU. A GPU copies in a stream of its own, so that training need not wait."""
        if self.copied is None:
            return Snapshot(self.iteration, _on_host(self.weights), _on_host(self.optimizer), self.state)
        device = next(tensor.device for tensor in self.weights.values() if tensor.is_cuda)
        with torch.cuda.stream(torch.cuda.Stream(device)):  # type: ignore[no-untyped-call]
            self.copied.wait()
            return Snapshot(self.iteration, _on_host(self.weights), _on_host(self.optimizer), self.state)


def _fits(tensors: Sequence[Tensor]) -> bool:
    """Whether their device has room for these once more."""
    on_gpu = [tensor for tensor in tensors if tensor.is_cuda]
    return not on_gpu or _has_room(on_gpu[0].device, sum(tensor.nbytes for tensor in on_gpu))


@cache
def _has_room(device: torch.device, size: int) -> bool:
    """Whether a GPU has `size` bytes beside the most that training takes: looked up once, since torch keeps for itself what it had."""
    return bool(size <= torch.cuda.mem_get_info(device)[0])


def _tensors(tree: Any) -> Iterator[Tensor]:
    """All tensors in `tree`."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping | list):
        for value in tree.values() if isinstance(tree, Mapping) else tree:
            yield from _tensors(value)


def _copy(tree: Any, to_host: bool) -> Any:
    """`tree` of mappings and lists with a copy of each tensor in it, on the CPU or where it was."""
    if isinstance(tree, Tensor):
        return tree.detach().to("cpu", copy=True) if to_host else tree.detach().clone()
    if isinstance(tree, Mapping):
        return {key: _copy(value, to_host) for key, value in tree.items()}
    return [_copy(value, to_host) for value in tree] if isinstance(tree, list) else tree


def _on_host(tree: Any) -> Any:
    """`tree` with each tensor in it on the CPU."""
    if isinstance(tree, Tensor):
        return tree.cpu()
    if isinstance(tree, Mapping):
        return {key: _on_host(value) for key, value in tree.items()}
    return [_on_host(value) for value in tree] if isinstance(tree, list) else tree
