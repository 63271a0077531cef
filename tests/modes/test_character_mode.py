"""The loss at the counted positions does not depend on how many the network is asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from masklab.model.config import ModelConfig
from masklab.modes.character_mode import ROUND_TO
from masklab.modes.mode import ModeBatch
from masklab.modes.token_classifier import TokenClassifier
from masklab.text.vocabulary import Vocabulary


@pytest.mark.parametrize("count", [0, 1, ROUND_TO - 1, ROUND_TO, ROUND_TO + 1])
def test_the_network_is_asked_for_round_numbers_of_positions_and_only_those_asked_for_count(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(count)
    mode, vocabulary = TokenClassifier(), Vocabulary(tuple("abcde"))
    model = mode.build(ModelConfig(n_layer=2, n_head=1, n_embd=8), vocabulary)
    inputs = torch.randint(vocabulary.extended_size, (4, 32), generator=generator)
    positions = torch.randperm(inputs.numel(), generator=generator)[:count].sort().values
    targets = torch.randint(vocabulary.size, (count,), generator=generator)
    batch = ModeBatch(inputs, torch.zeros(4), positions, targets, positions // 32)
    expected = F.cross_entropy(model(inputs).flatten(0, 1)[positions], targets, reduction="none")
    expected.sum().backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()

    asked, hidden = [], model.hidden

    def counting(tokens: Any, noise: Any, chosen: Any) -> Any:
        asked.append(len(chosen))
        return hidden(tokens, noise, chosen)

    monkeypatch.setattr(model, "hidden", counting)
    losses = mode.losses(model, batch, 0.0)
    losses.sum().backward()
    assert asked[0] % ROUND_TO == 0
    torch.testing.assert_close(losses, expected)
    for own, literal in zip((p.grad for p in model.parameters() if p.grad is not None), gradients, strict=True):
        torch.testing.assert_close(own, literal)
