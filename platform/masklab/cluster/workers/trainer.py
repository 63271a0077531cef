"""Ray's TorchTrainer without what a run of masklab has no use for."""

from __future__ import annotations

from typing import Any

from ray.train.torch import TorchTrainer


class Trainer(TorchTrainer):  # type: ignore[misc]
    """Starts its workers some seconds sooner.

    Train starts an actor that gives back the workers' resources should the controller die while the driver lives on, and one that
    hands out Ray datasets. Our driver ends with its controller, and Ray gives a job's resources back when its driver ends; our
    batches are no Ray datasets. Both actors are left out: each takes seconds to start, and then processor time from the run. A
    version of Ray that has no such hook ignores this method.
    """

    unused = ("PlacementGroupCleanerCallback", "DatasetsCallback")

    def _create_default_callbacks(self) -> list[Any]:
        callbacks: list[Any] = super()._create_default_callbacks()
        return [c for c in callbacks if type(c).__name__ not in self.unused]

    def _register_sigint_handler(self, controller: Any) -> None:
        """Ctrl-C stays Python's own, and ends the driver with its own exit status: Ray's handler would exit with 0."""
