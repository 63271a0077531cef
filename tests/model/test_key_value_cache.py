"""Keys and values that are kept: the same outputs as in one pass, position by position or in pieces."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from masklab.model.attention import KeyValueCache
from masklab.model.config import ModelConfig
from masklab.model.size import flops_per_char
from masklab.model.transformer import Transformer

V, B, T = 11, 3, 10
TOKENS = torch.randint(V, (B, T), generator=torch.Generator().manual_seed(0))
NOISE = torch.zeros(B)


def network(**keys: Any) -> Transformer:
    model = Transformer(ModelConfig(n_layer=3, n_head=2, n_embd=16, **keys), V, 16, seed=2, causal=True).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()), dtype=p.dtype))
    return model.eval()


@pytest.mark.parametrize("sizes", [[1] * T, [T], [4, 1, 1, 4], [3, 7]], ids=str)
@pytest.mark.parametrize("keys", [{}, {"norm": "rms", "qk_norm": False}, {"time_conditioning": True}], ids=str)
def test_pieces_give_what_one_pass_gives(sizes: list[int], keys: dict[str, Any]) -> None:
    model, cache = network(**keys), KeyValueCache(3)
    ends = list(itertools.accumulate(sizes))
    with torch.no_grad():
        whole = model.hidden(TOKENS, NOISE)
        parts: list[Tensor] = []
        for size, end in zip(sizes, ends, strict=True):
            assert cache.length == end - size
            parts.append(model.hidden(TOKENS[:, end - size : end], NOISE, cache=cache))
    assert cache.length == T
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-10, atol=1e-10)


def test_chosen_positions_are_those_of_the_new_piece() -> None:
    model, cache = network(), KeyValueCache(3)
    with torch.no_grad():
        whole = model.hidden(TOKENS)
        model.hidden(TOKENS[:, :6], cache=cache)
        last = model.hidden(TOKENS[:, 6:], positions_N=torch.arange(1, B + 1) * 4 - 1, cache=cache)
    torch.testing.assert_close(last, whole[:, -1], rtol=1e-10, atol=1e-10)


def test_causal_attention_is_counted_over_the_positions_that_are_seen() -> None:
    config = ModelConfig(n_layer=3, n_head=2, n_embd=16)
    pairs = sum(1 for _query, _key in ((q, k) for q in range(T) for k in range(T) if k <= q))
    # a score and a weighted sum for each pair, a multiplication and an addition each, and twice that backward
    attention = 3 * config.n_layer * 2 * 2 * config.n_embd * pairs / T
    both_ways = flops_per_char(config, V, T) - 3 * config.n_layer * 2 * 2 * config.n_embd * T
    assert flops_per_char(config, V, T, causal=True) == pytest.approx(both_ways + attention, rel=1e-12)
