"""Parameters and floating-point operations, against torch's own counters."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from masklab.model.config import ModelConfig
from masklab.model.size import ParameterCount, flops_per_char
from masklab.model.transformer import Transformer


def test_small_has_about_ten_and_a_half_million_parameters() -> None:
    count = ParameterCount.of(Transformer(ModelConfig(n_layer=6, n_head=6, n_embd=384), 65, 80))
    assert count.total == pytest.approx(10.65e6, rel=0.01)


@pytest.mark.parametrize("n_embd", [96, 128, 384])
def test_swiglu_has_as_many_parameters_as_gelu(n_embd: int) -> None:
    gelu, swiglu = (
        ParameterCount.of(Transformer(ModelConfig(n_layer=2, n_embd=n_embd, activation=a), 65, 80)).total for a in ("gelu", "swiglu")
    )
    assert swiglu == pytest.approx(gelu, rel=0.005)


@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
@pytest.mark.parametrize("tied_head", [False, True])
def test_flops_equal_those_that_torch_counts(activation: str, tied_head: bool) -> None:
    config = ModelConfig.model_validate({"n_layer": 3, "n_head": 2, "n_embd": 48, "activation": activation, "tied_head": tied_head})
    V, B, T = 20, 2, 24
    model = Transformer(config, V, 32)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(torch.zeros(B, T, dtype=torch.int64)).sum().backward()
    assert flops_per_char(config, V, T) == pytest.approx(counter.get_total_flops() / (B * T), rel=1e-12)
