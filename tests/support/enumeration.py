"""The bounds of a model over blocks of a few characters, spelt out: every text, every set of masks, every order of generation.

Nothing here is shared with the package but the network itself: one sequence at a time, dictionaries and sums.
"""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import torch

from masklab.likelihood.windows import ScoredWindows
from masklab.model.config import ModelConfig
from masklab.model.transformer import Transformer

V, T = 3, 4
TEXTS = list(itertools.product(range(V), repeat=T))
ORDERS = list(itertools.permutations(range(T)))
Text = tuple[int, ...]


def inconsistent_network(seed: int = 0, **keys: object) -> Transformer:
    """A small network with large random weights: its predictions at different positions belong to no common joint distribution."""
    model = Transformer(ModelConfig(n_layer=1, n_head=2, n_embd=8, **keys), V, 16, seed).double()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.7 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model.eval()


def windows_of(texts: np.ndarray, context: int = 0) -> ScoredWindows:
    return ScoredWindows(texts.astype(np.uint8), context, V)


def drawn_texts(probability: np.ndarray, count: int, seed: int) -> np.ndarray:
    return np.array(TEXTS)[np.random.default_rng(seed).choice(len(TEXTS), count, p=probability)]


class Enumeration:
    """What the bounds of `model` are, after `given` characters that are always visible."""

    def __init__(self, model: torch.nn.Module, given: Text = ()) -> None:
        self.model, self.given = model, given
        self._log_probabilities = cache(self._ask)

    def _ask(self, visible: Text) -> np.ndarray:
        """log p (G + T, V) with V, the mask, in place of what is hidden."""
        with torch.no_grad():
            logits = self.model.head(self.model.hidden(torch.tensor([visible])))[0]  # type: ignore[operator, union-attr]
        return torch.log_softmax(logits, -1).numpy()

    def losses(self, text: Text, masked: frozenset[int]) -> dict[int, float]:
        """Cross-entropy at each masked position."""
        visible = self.given + tuple(V if i in masked else c for i, c in enumerate(text))
        return {i: -float(self._log_probabilities(visible)[len(self.given) + i, text[i]]) for i in masked}

    def hits(self, text: Text, masked: frozenset[int]) -> float:
        """Share of the masked positions where the most probable character is the true one."""
        visible = self.given + tuple(V if i in masked else c for i, c in enumerate(text))
        return float(np.mean([self._log_probabilities(visible)[len(self.given) + i].argmax() == text[i] for i in masked]))

    def at_count(self, text: Text, k: int) -> float:
        """The mean cross-entropy over all k-subsets."""
        subsets = list(itertools.combinations(range(T), k))
        return sum(sum(self.losses(text, frozenset(s)).values()) for s in subsets) / k / len(subsets)

    def at_level(self, text: Text, p: float) -> float:
        """E[sum of cross-entropies] / (T p) with every position masked with probability p; its limit at p = 0."""
        if p == 0:
            return self.at_count(text, 1)
        total = 0.0
        for k in range(1, T + 1):
            for subset in itertools.combinations(range(T), k):
                total += p**k * (1 - p) ** (T - k) * sum(self.losses(text, frozenset(subset)).values())
        return total / (T * p)

    def any_order(self, text: Text) -> float:
        """The bound over all orders, nats per character."""
        return -sum(self.log_probability(text, order) for order in ORDERS) / len(ORDERS) / T

    def log_probability(self, text: Text, order: Text) -> float:
        """log p of writing the text in this order."""
        return -sum(self.losses(text, frozenset(order[step:]))[position] for step, position in enumerate(order))

    def truth(self, text: Text) -> float:
        """-log p / T of the model that picks an order and then writes."""
        return -math.log(sum(math.exp(self.log_probability(text, order)) for order in ORDERS) / len(ORDERS)) / T
