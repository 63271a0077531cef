"""AdamW with decay on matrices only (Loshchilov and Hutter 2019), fused where the device has it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from masklab.training.settings import TrainingSettings


def make_optimizer(model: nn.Module, settings: TrainingSettings, device: torch.device) -> torch.optim.AdamW:
    """An optimizer over exactly the parameters of `model` that require gradients; two groups, matrices first."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        fused=device.type in ("cuda", "cpu"),
    )


def restore(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Load the moments that `saved` holds, and keep the optimizer's own numbers: the settings in force are those of the configuration."""
    own = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for group, numbers in zip(optimizer.param_groups, own, strict=True):
        group.update(numbers)
