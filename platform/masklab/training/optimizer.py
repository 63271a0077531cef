"""AdamW with decay on matrices only (Loshchilov and Hutter 2019), fused where the device has it.

Each group has its own learning rate factor, `lr_factor`, by the layer, and a flag whether it was unfrozen during the run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from masklab.errors import CheckpointError
from masklab.model.training_mode import parameters_with_depth
from masklab.model.transformer import Transformer
from masklab.training.settings import TrainingSettings, TransferSettings


def make_optimizer(model: Transformer, settings: TrainingSettings, transfer: TransferSettings, device: torch.device) -> torch.optim.AdamW:
    """An optimizer over exactly the parameters of `model` that require gradients, grouped by rate, in each group matrices first."""
    return torch.optim.AdamW(
        list(_groups(model, settings, transfer)),
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        fused=device.type in ("cuda", "cpu"),
    )


def _groups(model: Transformer, settings: TrainingSettings, transfer: TransferSettings) -> Iterator[dict[str, Any]]:
    """Parameters that have rate and decay in common: without transfer two groups, matrices and the rest."""
    rates: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter, depth in parameters_with_depth(model):
        if parameter.requires_grad:
            unfrozen = transfer.unfreeze_at_iter is not None and depth > 0
            rates.setdefault((transfer.layer_lr_decay**depth, unfrozen), []).append(parameter)
    for (factor, unfrozen), parameters in rates.items():
        for decay, group in (
            (settings.weight_decay, [p for p in parameters if p.dim() >= 2]),
            (0.0, [p for p in parameters if p.dim() < 2]),
        ):
            if group:
                yield {"params": group, "weight_decay": decay, "lr_factor": factor, "unfrozen": unfrozen}


def set_rates(optimizer: torch.optim.Optimizer, learning_rate: float, thaw: float = 1.0) -> None:
    """Set the rate of each group from `learning_rate`; `thaw` is a further factor of unfrozen groups."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["lr_factor"] * (thaw if group["unfrozen"] else 1.0)


def carry_over(old: torch.optim.Optimizer, new: torch.optim.Optimizer) -> None:
    """Copy the moments of the parameters that `old` has trained to `new`."""
    for parameter, state in old.state.items():
        new.state[parameter] = state


def restore(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Load the moments of `saved`. Rates, betas and decay stay those of the configuration. Raises CheckpointError if they do not fit."""
    own = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    check_moments(optimizer, saved)
    optimizer.load_state_dict(saved)
    for group, numbers in zip(optimizer.param_groups, own, strict=True):
        group.update(numbers)


def learning_rate(settings: TrainingSettings, iteration: int, budget_used: float) -> float:
    """The rate of step `iteration` (from 0): linear warm-up, then a cosine up to `lr_decay_iters`, or over the whole budget in its unit."""
    if iteration < settings.warmup_iters:
        return settings.learning_rate * (iteration + 1) / (settings.warmup_iters + 1)
    if settings.lr_decay_iters is None:
        done = budget_used
    else:
        done = (iteration - settings.warmup_iters) / max(1, settings.lr_decay_iters - settings.warmup_iters)
    lowest = settings.lowest_learning_rate
    return lowest + 0.5 * (1 + math.cos(math.pi * min(1.0, done))) * (settings.learning_rate - lowest)


def check_moments(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Raise CheckpointError unless `saved` has as many parameters as `optimizer`, with moments of their shapes."""
    try:
        groups, state = saved["param_groups"], saved["state"]
        numbers = [list(group["params"]) for group in groups]
        own = [group["params"] for group in optimizer.param_groups]
        if list(map(len, numbers)) != list(map(len, own)):
            raise CheckpointError("the optimizer's state is that of another model: its groups have different numbers of parameters")
        for number, parameter in ((n, p) for each, params in zip(numbers, own, strict=True) for n, p in zip(each, params, strict=True)):
            for name, value in state.get(number, {}).items():
                if isinstance(value, torch.Tensor) and value.dim() and value.shape != parameter.shape:
                    shapes = f"{name} of parameter {number} is {list(value.shape)}, the model's {list(parameter.shape)}"
                    raise CheckpointError(f"the optimizer's state is that of another model: {shapes}")
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"the optimizer's state cannot be read ({type(error).__name__}); use another checkpoint of the run"
        ) from error
