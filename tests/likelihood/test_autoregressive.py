"""The exact likelihood of a causal model, against the chain rule over a table."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from enumerated_denoiser import random_joint
from torch import Tensor, nn

from masklab.likelihood.autoregressive import autoregressive_nll
from masklab.likelihood.windows import ScoredWindows

V, L = 3, 5
JOINT = random_joint(V, L, seed=3)
TEXTS = list(itertools.product(range(V), repeat=L))


class EnumeratedCausalModel(nn.Module):
    """Gives log p(x_{i+1} | x_1 .. x_i) by summing a table of the joint distribution over all texts that begin alike."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(1))
        joint = JOINT.reshape((V,) * L)
        self.prefix = [joint.sum(axis=tuple(range(i, L))) for i in range(1, L + 1)]  # p of the first i characters

    def hidden(self, tokens_BT: Tensor, noise_level_B: Tensor) -> Tensor:
        rows = [
            [np.log(self.prefix[i + 1][tuple(r[: i + 1])] / self.prefix[i][tuple(r[: i + 1])]) for i in range(len(r))] for r in tokens_BT
        ]
        return torch.tensor(np.array(rows))

    def head(self, hidden: Tensor) -> Tensor:
        return hidden


MODEL: Any = EnumeratedCausalModel()


@pytest.mark.parametrize("context", [1, 2, 4])
@pytest.mark.parametrize("batch_size", [1, 64, 1000])
def test_is_the_joint_probability_given_the_context(context: int, batch_size: int) -> None:
    got = autoregressive_nll(MODEL, ScoredWindows(np.array(TEXTS, np.uint8), context, V), batch_size).values
    given: dict[tuple[int, ...], float] = {}
    for text, p in zip(TEXTS, JOINT, strict=True):
        given[text[:context]] = given.get(text[:context], 0.0) + p
    expected = [-math.log(p / given[text[:context]]) / (L - context) for text, p in zip(TEXTS, JOINT, strict=True)]
    np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_its_estimate_is_the_entropy_within_the_standard_error() -> None:
    texts = np.array(TEXTS)[np.random.default_rng(0).choice(len(TEXTS), 500, p=JOINT)]
    got = autoregressive_nll(MODEL, ScoredWindows(texts, 1, V), 100)
    first = JOINT.reshape((V,) * L).sum(axis=(1, 2, 3, 4))
    entropy = (-(JOINT * np.log(JOINT)).sum() + (first * np.log(first)).sum()) / (L - 1)
    assert abs(got.estimate.nats - entropy) < 4 * got.estimate.stderr
    assert got.estimate.stderr == pytest.approx(got.values.std() / math.sqrt(500), rel=0.01)


def test_a_causal_model_needs_a_first_character() -> None:
    with pytest.raises(ValueError, match="at least 1 given character"):
        autoregressive_nll(MODEL, ScoredWindows(np.array(TEXTS), 0, V), 8)
