"""Ray's TorchTrainer without what a run of masklab has no use for."""

from __future__ import annotations

from typing import Any

from ray.train.torch import TorchTrainer


class Trainer(TorchTrainer):  # type: ignore[misc]
    """Starts its workers some seconds sooner.

    Train starts an actor whose task is to give back the workers' resources should the controller die while the driver lives on.
    Our driver ends with its controller, and Ray gives a job's resources back when its driver ends; so that actor is left out. A
    version of Ray that has no such hook ignores this method.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks: list[Any] = super()._create_default_callbacks()
        return [c for c in callbacks if type(c).__name__ != "PlacementGroupCleanerCallback"]

    def _register_sigint_handler(self, controller: Any) -> None:
        """Ctrl-C stays Python's own, and ends the driver with its own exit status: Ray's handler would exit with 0."""
