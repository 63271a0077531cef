"""AdamW with decay on matrices only (Loshchilov and Hutter 2019), fused where the device has it."""

from __future__ import annotations

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
