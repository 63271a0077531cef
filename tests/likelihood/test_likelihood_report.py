"""All figures together: settings that count, draws that repeat, levels that a conditioned model is told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from enumerated_denoiser import random_joint
from enumeration import Enumeration, T, V, drawn_texts, inconsistent_network, windows_of
from pydantic import ValidationError

from masklab.corruption.noise_schedule import Cosine, Linear
from masklab.likelihood.autoregressive import autoregressive_nll
from masklab.likelihood.continuous_time import continuous_time_nelbo
from masklab.likelihood.estimate import SequenceValues, difference
from masklab.likelihood.importance_weighted import importance_weighted_bound
from masklab.likelihood.mask_ratio_curve import even_levels, mask_ratio_curve
from masklab.likelihood.nelbo import exact_count_nelbo
from masklab.likelihood.report import Likelihood, likelihood
from masklab.likelihood.settings import EvaluationSettings
from masklab.likelihood.windows import ScoredWindows
from masklab.model.config import ModelConfig
from masklab.model.transformer import Transformer

BLOCK = 16
SMALL = {
    "sequences": 24,
    "process_sequences": 20,
    "seed": 3,
    "batch_size": 10,
    "orders": 2,
    "order_sequences": 3,
    "curve_levels": 4,
    "curve_sequences": 30,
}


@pytest.fixture(scope="module")
def model(corpus: Any) -> Transformer:
    network = Transformer(ModelConfig(n_layer=2, n_head=2, n_embd=16), corpus.vocabulary.size, corpus.vocabulary.extended_size, 1)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return network


def figures(result: Likelihood) -> dict[str, np.ndarray]:
    """Every number of a result, by name."""
    found = {"exact_count": result.exact_count.values, "continuous_time": result.continuous_time.values}
    if result.orders:
        found |= {"weighted": result.orders.importance_weighted.values, "any_order": result.orders.any_order.values}
    if result.curve:
        found |= {"ratio": result.curve.mask_ratio, "curve": result.curve.cross_entropies, "accuracy": result.curve.accuracies}
    return found


def run(model: Transformer, corpus: Any, **changes: Any) -> dict[str, np.ndarray]:
    return figures(likelihood(model, corpus, BLOCK, EvaluationSettings.model_validate(SMALL | changes)))


def test_twice_the_same_to_the_last_bit(model: Transformer, corpus: Any) -> None:
    once, again = run(model, corpus), run(model, corpus)
    assert {k: v.tobytes() for k, v in once.items()} == {k: v.tobytes() for k, v in again.items()}


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_the_batch_size_changes_no_figure(model: Transformer, corpus: Any, batch_size: int) -> None:
    usual, other = run(model, corpus), run(model, corpus, batch_size=batch_size)
    for name, values in usual.items():
        np.testing.assert_allclose(other[name], values, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("key", "value", "touched"),
    [
        ("sequences", 25, {"exact_count"}),
        ("process_sequences", 21, {"continuous_time"}),
        ("seed", 4, {"exact_count", "continuous_time", "weighted", "any_order", "curve", "accuracy"}),
        ("context", 1, {"exact_count", "continuous_time", "weighted", "any_order", "curve", "accuracy"}),
        ("schedule", "cosine", {"continuous_time"}),
        ("timesteps", 4, {"continuous_time"}),
        ("orders", 3, {"weighted", "any_order"}),
        ("order_sequences", 4, {"weighted", "any_order"}),
        ("curve_levels", 3, {"ratio", "curve", "accuracy"}),
        ("curve_sequences", 31, {"curve", "accuracy"}),
    ],
)
def test_each_setting_changes_what_it_should_and_nothing_else(
    model: Transformer, corpus: Any, key: str, value: Any, touched: set[str]
) -> None:
    usual, other = run(model, corpus), run(model, corpus, **{key: value})
    assert {name for name in usual if not np.array_equal(usual[name], other[name])} == touched


def test_what_is_switched_off_is_left_out(model: Transformer, corpus: Any) -> None:
    assert run(model, corpus, order_sequences=0, curve_levels=0).keys() == {"exact_count", "continuous_time"}


@pytest.mark.parametrize("key", ["sequences", "process_sequences", "curve_sequences", "order_sequences"])
def test_a_single_window_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        EvaluationSettings.model_validate({key: 1})


def test_a_uniform_predictor_scores_log_v_everywhere(corpus: Any) -> None:
    size = corpus.vocabulary.size
    uniform = Transformer(ModelConfig(n_layer=1, n_head=1, n_embd=8, tied_head=False), size, corpus.vocabulary.extended_size)
    torch.nn.init.zeros_(uniform.output.weight)  # type: ignore[union-attr]
    windows = ScoredWindows.of(corpus, BLOCK, 40, 1)
    orders = importance_weighted_bound(uniform, windows, 3, 0, 64)
    curve = mask_ratio_curve(uniform, windows, even_levels(4), 0, 64)
    for values in (
        exact_count_nelbo(uniform, windows, 0, 64).values,
        orders.importance_weighted.values,
        orders.any_order.values,
        curve.cross_entropies,
        autoregressive_nll(uniform, windows, 64).values,
    ):
        np.testing.assert_allclose(values, math.log(size), rtol=1e-14)
    # here the number of masks is left to chance, and its mean is what is exact
    chance = continuous_time_nelbo(uniform, ScoredWindows.of(corpus, BLOCK, 4000), Linear(), None, 0, 500).estimate
    assert abs(chance.nats - math.log(size)) < 4 * chance.stderr


def test_given_characters_are_seen_and_never_scored() -> None:
    """With one character given, every estimator bounds the text after it, not the text with it."""
    network, joint = inconsistent_network(), random_joint(V, T, seed=1)
    given = (2,)
    reference = Enumeration(network, given)
    texts = drawn_texts(joint, 1500, seed=2)
    windows = windows_of(np.concatenate([np.tile(given, (len(texts), 1)), texts], axis=1), context=1)
    expected = np.mean([reference.any_order(tuple(text)) for text in np.unique(texts, axis=0)[_rows(texts)]])
    few = ScoredWindows(windows.tokens[:200], 1, V)
    bound = importance_weighted_bound(network, few, 4, 0, 1000)
    curve = mask_ratio_curve(network, windows, even_levels(T), 0, 500)
    for values in (
        exact_count_nelbo(network, windows, 0, 500),
        continuous_time_nelbo(network, windows, Linear(), None, 0, 500),
        bound.any_order,
        SequenceValues(curve.cross_entropies.mean(axis=0)),
    ):
        assert abs(values.estimate.nats - expected) < 4 * values.estimate.stderr
    blind = Enumeration(network)
    assert abs(expected - np.mean([blind.any_order(tuple(text)) for text in texts[:200]])) > 0.02


def _rows(texts: np.ndarray) -> np.ndarray:
    return np.unique(texts, axis=0, return_inverse=True)[1].ravel()


def test_a_conditioned_model_is_told_the_level_of_each_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    network = inconsistent_network(time_conditioning=True)
    told: list[tuple[np.ndarray, np.ndarray]] = []
    hidden = network.hidden

    def spy(tokens: Any, noise_level: Any, positions: Any) -> Any:
        told.append(((tokens == V).sum(1).numpy() / T, noise_level.numpy()))
        return hidden(tokens, noise_level, positions)

    monkeypatch.setattr(network, "hidden", spy)
    windows = windows_of(np.pad(drawn_texts(random_joint(V, T, seed=1), 400, 2), ((0, 0), (1, 0))), context=1)
    few = ScoredWindows(windows.tokens[:5], 1, V)
    exact_count_nelbo(network, windows, 0, 64)
    importance_weighted_bound(network, few, 2, 0, 64)
    mask_ratio_curve(network, few, even_levels(4), 0, 64)
    for share, level in told:  # of an exact count the level is the share itself
        np.testing.assert_allclose(level, share, rtol=1e-6)

    told.clear()
    continuous_time_nelbo(network, windows, Linear(eps=0.5), None, 0, 400)
    share, level = told[0]
    assert (level >= 0.5).all() and np.mean(level == 0.5) == pytest.approx(0.5, abs=0.01)
    assert abs(np.mean(share - level)) < 4 * np.sqrt(np.mean(level * (1 - level)) / T / len(level))
    told.clear()
    continuous_time_nelbo(network, windows, Cosine(clip=0.75), 3, 0, 400)
    assert set(told[0][1]) <= {np.float32(p) for p in (0.75, 1.0, *Cosine(clip=0.75).value(np.arange(1, 4) / 3))}


def test_two_models_on_the_same_windows_and_masks_are_told_apart_more_surely(model: Transformer, corpus: Any) -> None:
    settings = EvaluationSettings.model_validate(
        SMALL | {"sequences": 400, "process_sequences": 400, "order_sequences": 0, "curve_levels": 0}
    )
    other = Transformer(model.config, corpus.vocabulary.size, corpus.vocabulary.extended_size)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other.embedding.weight.mul_(1.02)
    a, b = (likelihood(m, corpus, BLOCK, settings) for m in (model, other))
    for x, y in ((a.exact_count, b.exact_count), (a.continuous_time, b.continuous_time)):
        assert difference(x, y).stderr < 0.3 * math.hypot(x.estimate.stderr, y.estimate.stderr)


def test_a_schedule_without_a_finite_variance_is_refused() -> None:
    slow = {"type": "polynomial", "power": 0.5}
    with pytest.raises(ValidationError, match="finite variance"):
        EvaluationSettings.model_validate({"schedule": slow})
    EvaluationSettings.model_validate({"schedule": slow, "timesteps": 8})
