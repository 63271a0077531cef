"""Learning rates of layers, and of weights that are unfrozen along the way."""

from __future__ import annotations

import pytest
import torch
from recipes import recipe

from masklab.model.training_mode import parameters_with_depth
from masklab.model.transformer import Transformer
from masklab.training.optimizer import make_optimizer, set_rates
from masklab.training.settings import TransferSettings

CPU = torch.device("cpu")
THAWING = TransferSettings(
    init_checkpoint="given",
    mode="feature_extraction",
    unfreeze_at_iter=8,
    unfreeze_lr_factor=0.25,
    unfreeze_warmup_iters=3,
    layer_lr_decay=0.8,
)


def test_rates_fall_by_layer_and_rise_after_the_unfreezing_in_closed_form() -> None:
    made = recipe(model={"tied_head": False})
    model = Transformer(made.model, 3, 16)
    assert [THAWING.thaw(i) for i in (8, 9, 10, 11, 100)] == pytest.approx([0.25 * k / 4 for k in (1, 2, 3, 4, 4)])
    optimizer = make_optimizer(model, made.training, THAWING, CPU)
    set_rates(optimizer, 0.01, THAWING.thaw(9))
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for parameter, depth in parameters_with_depth(model):
        assert rates[id(parameter)] == pytest.approx(0.01 * 0.8**depth * (0.125 if depth else 1.0))
        assert decays[id(parameter)] == (made.training.weight_decay if parameter.dim() >= 2 else 0.0)
    assert {depth for _, depth in parameters_with_depth(model)} == {0, 1, 2, 3}


def test_without_transfer_there_are_two_groups_with_the_whole_rate() -> None:
    made = recipe()
    model = Transformer(made.model, 3, 16)
    optimizer = make_optimizer(model, made.training, TransferSettings(), CPU)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [made.training.weight_decay, 0.0]
    assert [(group["lr_factor"], group["unfrozen"]) for group in optimizer.param_groups] == [(1.0, False)] * 2
