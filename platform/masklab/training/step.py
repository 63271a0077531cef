"""One optimizer step over this worker's rows of a global batch.

Shapes: B sequences, T positions, N selected positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from masklab.model.transformer import Transformer
from masklab.modes.mode import Mode, ModeBatch
from masklab.training.data.batch import Batch
from masklab.training.loss_spikes import LARGEST
from masklab.training.optimizer import carry_over, make_optimizer, restore, set_rates
from masklab.training.precision import Precision
from masklab.training.ranks import Ranks
from masklab.training.recipe import Recipe

Wrap = Callable[[nn.Module], nn.Module]


class LossModule(nn.Module):
    """The model with its mode's loss: the one module that is wrapped for several workers.

    With `shared` its `carrier`, always 0, takes the loss along with the gradients: its gradient is the loss, and workers average it
    with the rest, so that all know the loss of all without another message.
    """

    def __init__(self, model: Transformer, mode: Mode, label_smoothing: float, shared: bool = False) -> None:
        super().__init__()
        self.model, self.mode, self.label_smoothing = model, mode, label_smoothing
        self.carrier = nn.Parameter(torch.zeros((), device=model.embedding.weight.device)) if shared else None

    def forward(self, batch: ModeBatch, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted sum of the losses, and the plain one without a gradient; `coefficients` is (B,)."""
        losses_N = self.mode.losses(self.model, batch, self.label_smoothing)
        weights_N = self.mode.weights(self.model, batch)
        counts_N = coefficients[batch.rows] if weights_N is None else coefficients[batch.rows] * weights_N
        weighted_N = losses_N * counts_N
        weighted_sum = weighted_N.sum()
        if self.carrier is not None:
            weighted_sum = weighted_sum + self.carrier * weighted_sum.detach()
        return weighted_sum, losses_N.detach().sum()


def micro_batches(batch: Batch, size: int) -> Iterator[tuple[ModeBatch, Tensor]]:
    """Cut a worker's rows into passes of at most `size` sequences, as tensors with memory of their own."""
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
                targets=torch.from_numpy(_as_numbers(batch.targets[part].ravel()[positions])),
                rows=torch.from_numpy(positions // selected.shape[1]),
            ),
            torch.from_numpy(batch.coefficients[part].copy()),
        )


def _as_numbers(targets: NDArray[Any]) -> NDArray[Any]:
    """Targets as torch wants them: numbers of classes int64, and others float32."""
    return targets.astype(np.float32 if targets.dtype.kind == "f" else np.int64)


@dataclass(frozen=True)
class StepResult:
    """What a step came to, on the device, unread."""

    loss: Tensor
    """The objective's loss, this worker's share."""
    plain_sum: Tensor
    """The sum of this worker's plain cross-entropies."""
    grad_norm: Tensor
    whole_loss: Tensor
    """The objective's loss of all workers together."""
    taken: Tensor
    """Whether the weights were changed; the same on every worker."""


@dataclass(frozen=True)
class Stepper:
    """Takes optimizer steps. On a GPU of NVIDIA's nothing here waits for the device.

    A step whose loss is above a limit, or whose loss or gradient is not finite, is skipped: it leaves weights, moments and the
    optimizer's count of steps as they are. On such a GPU that is decided there, by the flag that tells a fused optimizer of an overflow.
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
    """That of the loss module."""

    @classmethod
    def of(cls, model: Transformer, recipe: Recipe, precision: Precision, ranks: Ranks, wrap: Wrap) -> Self:
        """Trains exactly the parameters of `model` that require gradients; `wrap` prepares the module for several workers."""
        module = LossModule(model, recipe.mode, recipe.objective.label_smoothing, shared=ranks.size > 1)
        return cls(
            loss_module=wrap(module),
            parameters=tuple(p for p in model.parameters() if p.requires_grad),
            optimizer=make_optimizer(model, recipe.training, recipe.transfer, precision.device),
            scaler=precision.scaler(),
            precision=precision,
            ranks=ranks,
            micro_batch_size=recipe.training.batch_size,
            grad_clip=recipe.training.grad_clip,
            carrier=module.carrier,
        )

    def over_all(self, model: Transformer, recipe: Recipe, wrap: Wrap) -> Self:
        """The same after more of `model` was unfrozen: wrapped anew, with the moments and the scale of before."""
        made = replace(self.of(model, recipe, self.precision, self.ranks, wrap), scaler=self.scaler)
        carry_over(self.optimizer, made.optimizer)
        return made

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        restore(self.optimizer, saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])

    def is_finite(self) -> bool:
        """Whether all that is trained, and what the optimizer knows of it, is finite. Waits for the device."""
        moments = [value for state in self.optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
        largest = torch._foreach_norm([*(p.detach() for p in self.parameters), *(m for m in moments if m.dim())], float("inf"))
        return bool(torch.isfinite(torch.stack(list(largest))).all())

    def take(self, batch: Batch, learning_rate: float, thaw: float = 1.0, limit: float = LARGEST) -> StepResult:
        """Forward, backward, clip and step; the sum over all workers is divided by the global denominator.

        `thaw` is the further factor of the learning rate of weights that were unfrozen along the way; a loss above `limit` is skipped.
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
        taken = (whole <= limit) & (norm <= LARGEST)  # false for what is no number
        set_rates(self.optimizer, learning_rate, thaw)
        if device.type == "cuda":
            self._update_unread(taken)
        elif taken:
            self.optimizer.step()
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return StepResult(loss, plain, norm, whole, taken)

    def _whole(self, own: Tensor) -> Tensor:
        """The loss of all workers together, which came with their gradients."""
        if self.carrier is None or self.carrier.grad is None:
            return own
        whole, self.carrier.grad = self.carrier.grad, None
        return whole / self.scaler.scale(torch.ones_like(whole))

    def _update_unread(self, taken: Tensor) -> None:
        """Change the weights if the step is `taken`, whose value nobody on the host knows; the optimizer must be fused."""
        self.optimizer.found_inf = (~taken).float()  # type: ignore[attr-defined]
        self.optimizer.step()

    def _sync(self, last: bool) -> AbstractContextManager[object]:
        """Workers exchange gradients in the last pass only."""
        no_sync = getattr(self.loss_module, "no_sync", None)
        return nullcontext() if last or no_sync is None else no_sync()
