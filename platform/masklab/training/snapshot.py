"""What a checkpoint is written from: a copy of a run's state at one iteration, which training no longer changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Snapshot:
    """Weights by name, the optimizer's state and the plain values of `state.json`, all of `iteration`.

    Tensors lie where they were, on the device; `copied` is the moment from which the copies there are whole, on a GPU.
    """

    iteration: int
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    state: Mapping[str, Any]
    copied: torch.cuda.Event | None = None

    @classmethod
    def of(cls, iteration: int, model: nn.Module, optimizer: Mapping[str, Any], state: Mapping[str, Any]) -> Snapshot:
        """Copy what training goes on to change. Does not wait for the device."""
        weights = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in model.state_dict().items()}
        moments = _copy(optimizer)
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


def _copy(tree: Any) -> Any:
    """`tree` of mappings and lists with a copy of each tensor in it."""
    if isinstance(tree, Tensor):
        return tree.detach().clone()
    if isinstance(tree, Mapping):
        return {key: _copy(value) for key, value in tree.items()}
    return [_copy(value) for value in tree] if isinstance(tree, list) else tree


def _on_host(tree: Any) -> Any:
    """`tree` with each tensor in it on the CPU."""
    if isinstance(tree, Tensor):
        return tree.cpu()
    if isinstance(tree, Mapping):
        return {key: _on_host(value) for key, value in tree.items()}
    return [_on_host(value) for value in tree] if isinstance(tree, list) else tree
