"""One optimizer step over this worker's rows of a global batch.

Shapes: B sequences, T positions, N selected positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from masklab.model.transformer import Transformer
from masklab.modes.mode import ModeBatch
from masklab.training.data.batch import Batch
from masklab.training.loss import LossModule
from masklab.training.loss_spikes import LARGEST
from masklab.training.optimizer import carry_over, make_optimizer, restore, set_rates
from masklab.training.precision import Precision
from masklab.training.ranks import Ranks
from masklab.training.recipe import Worker


def micro_batches(batch: Batch, size: int) -> Iterator[tuple[ModeBatch, Tensor]]:
    """Split a worker's rows into passes of at most `size` sequences: each batch with its row coefficients (B,), as copies on the CPU."""
    for first in range(0, len(batch.inputs), size):
        part = slice(first, first + size)
        inputs = torch.from_numpy(batch.inputs[part].astype(np.int64))
        selected = batch.selected[part]
        positions = np.flatnonzero(selected)
        yield (
            ModeBatch(
                inputs=inputs,
                noise_level=torch.from_numpy(batch.noise_level[part].copy()),
                positions=torch.from_numpy(positions),
                targets=torch.from_numpy(_torch_targets(batch.targets[part].ravel()[positions])),
                rows=torch.from_numpy(positions // selected.shape[1]),
            ),
            torch.from_numpy(batch.coefficients[part].copy()),
        )


def _torch_targets(targets: NDArray[Any]) -> NDArray[Any]:
    """Class indices as int64, regression targets as float32."""
    return targets.astype(np.float32 if targets.dtype.kind == "f" else np.int64)


@dataclass(frozen=True)
class StepResult:
    """The metrics of one step, scalars on the device."""

    loss: Tensor
    """This worker's share of the objective's loss."""
    plain_sum: Tensor
    """Sum of this worker's unweighted cross-entropies, nats."""
    grad_norm: Tensor
    whole_loss: Tensor
    """The objective's loss over all workers."""
    taken: Tensor
    """Whether the weights were changed; the same on every worker."""


@dataclass(frozen=True)
class Stepper:
    """Takes optimizer steps. On a CUDA device nothing here waits for the device.

    A step is skipped if its loss is above a limit, or its loss or gradient is not finite: weights, moments and the optimizer's step
    count stay unchanged. On CUDA the device decides, through the overflow flag `found_inf` of the fused optimizer.
    """

    loss_module: nn.Module
    parameters: tuple[nn.Parameter, ...]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    precision: Precision
    ranks: Ranks
    micro_batch_size: int
    grad_clip: float
    carrier: nn.Parameter | None = None
    """The loss module's."""

    @classmethod
    def of(cls, model: Transformer, worker: Worker) -> Self:
        """Trains exactly the parameters of `model` that require gradients."""
        recipe, precision = worker.recipe, worker.precision
        module = LossModule(model, recipe.mode, recipe.objective.label_smoothing, shared=worker.ranks.size > 1)
        return cls(
            loss_module=worker.wrap(module),
            parameters=tuple(p for p in model.parameters() if p.requires_grad),
            optimizer=make_optimizer(model, recipe.training, recipe.transfer, precision.device),
            scaler=precision.scaler(),
            precision=precision,
            ranks=worker.ranks,
            micro_batch_size=recipe.training.batch_size,
            grad_clip=recipe.training.grad_clip,
            carrier=module.carrier,
        )

    def after_unfreezing(self, model: Transformer, worker: Worker) -> Self:
        """A new stepper over all parameters of `model` that now require gradients, with the moments and the loss scale of this one."""
        made = replace(self.of(model, worker), scaler=self.scaler)
        carry_over(self.optimizer, made.optimizer)
        return made

    def state(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def restore(self, saved: dict[str, Any]) -> None:
        restore(self.optimizer, saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])

    def is_finite(self) -> bool:
        """Whether all trained weights and the optimizer's moments are finite. Waits for the device."""
        moments = [value for state in self.optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
        largest = torch._foreach_norm([*(p.detach() for p in self.parameters), *(m for m in moments if m.dim())], float("inf"))
        return bool(torch.isfinite(torch.stack(list(largest))).all())

    def take(self, batch: Batch, learning_rate: float, thaw: float = 1.0, limit: float = LARGEST) -> StepResult:
        """Forward, backward, clip and step; the weighted sum over all workers is divided by the global denominator.

        `thaw` is a further learning rate factor of weights that were unfrozen during the run; a loss above `limit` skips the step.
        """
        device = self.precision.device
        denominator = self.ranks.total_on_device(batch.denominator)
        share = 1.0 / denominator.clamp(min=1.0) if isinstance(denominator, Tensor) else 1.0 / max(denominator, 1.0)
        loss = torch.zeros((), device=device)
        plain = torch.zeros((), device=device)
        passes = -(-len(batch.inputs) // self.micro_batch_size)
        for number, (part, coefficients) in enumerate(micro_batches(batch, self.micro_batch_size), start=1):
            with self._sync(number == passes):
                with self.precision.autocast():
                    weighted_sum, plain_sum = self.loss_module(part.to(device), coefficients.to(device, non_blocking=True))
                own = weighted_sum * share
                # the gradients of the workers are averaged, and the loss is their sum
                self.scaler.scale(own * self.ranks.size).backward()
            loss += own.detach()
            plain += plain_sum
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.grad_clip or float("inf"))
        whole = self._whole(loss)
        taken = (whole <= limit) & (norm <= LARGEST)  # false for NaN
        set_rates(self.optimizer, learning_rate, thaw)
        if device.type == "cuda":
            self._update_unread(taken)
        elif taken:
            self.optimizer.step()
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return StepResult(loss, plain, norm, whole, taken)

    def _whole(self, own: Tensor) -> Tensor:
        if self.carrier is None or self.carrier.grad is None:
            return own
        whole, self.carrier.grad = self.carrier.grad, None
        return whole / self.scaler.scale(torch.ones_like(whole))

    def _update_unread(self, taken: Tensor) -> None:
        """Update the weights if `taken`, without reading it on the host; the optimizer must be fused."""
        self.optimizer.found_inf = (~taken).float()  # type: ignore[attr-defined]
        self.optimizer.step()

    def _sync(self, last: bool) -> AbstractContextManager[object]:
        """The context of one pass: workers exchange gradients in the last pass only."""
        no_sync = getattr(self.loss_module, "no_sync", None)
        return nullcontext() if last or no_sync is None else no_sync()
