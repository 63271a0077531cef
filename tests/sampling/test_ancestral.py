"""The reverse process against a process that can be enumerated."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from enumerated_denoiser import EnumeratedDenoiser, random_joint
from pydantic import ValidationError
from scipy import stats

from masklab.errors import ConfigError, DataError
from masklab.model.config import ModelConfig
from masklab.model.transformer import Transformer
from masklab.sampling.ancestral import draw_characters, reverse_process, sample
from masklab.sampling.settings import SamplingSettings
from masklab.text.vocabulary import Vocabulary

V, T = 2, 3
JOINT = random_joint(V, T, seed=4)
LETTERS = Vocabulary.of_text("abcdefgh")


def counts(steps: int, samples: int) -> np.ndarray:
    """How often each of the V ** T sequences is generated from all masked."""
    model = EnumeratedDenoiser(JOINT, V, T)
    settings = SamplingSettings(steps=steps, seed=11)
    texts = reverse_process(model, np.full((samples, T), V, np.int64), V, settings)  # type: ignore[arg-type]
    return np.bincount(texts @ V ** np.arange(T - 1, -1, -1), minlength=V**T)


@pytest.fixture
def model() -> Transformer:
    return Transformer(ModelConfig(n_layer=1, n_head=2, n_embd=16), LETTERS.size, LETTERS.extended_size)


def test_many_steps_reproduce_the_joint_distribution() -> None:
    samples = 4000
    assert stats.chisquare(counts(200, samples), JOINT * samples).pvalue > 0.01


def test_one_step_gives_the_product_of_the_marginals() -> None:
    samples = 4000
    table = JOINT.reshape((V,) * T)
    marginals = [table.sum(axis=tuple(a for a in range(T) if a != t)) for t in range(T)]
    product = np.array([np.prod([m[c] for m, c in zip(marginals, text, strict=True)]) for text in itertools.product(range(V), repeat=T)])
    assert stats.chisquare(counts(1, samples), product * samples).pvalue > 0.01
    assert stats.chisquare(counts(1, samples), JOINT * samples).pvalue < 1e-6


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_nothing_stays_masked_and_the_prompt_never_changes(model: Transformer, steps: int, temperature: float) -> None:
    texts = sample(model, LETTERS, 24, SamplingSettings(num_samples=3, steps=steps, temperature=temperature, prompt="badcafe"))
    assert [len(t) for t in texts] == [24] * 3
    assert all(set(t) <= set("abcdefgh") and t.startswith("badcafe") for t in texts)


def test_each_text_is_as_it_would_be_alone(model: Transformer) -> None:
    few, many = (sample(model, LETTERS, 16, SamplingSettings(num_samples=n, steps=9)) for n in (1, 5))
    assert many[:1] == few
    assert len(set(many)) == 5


def test_the_seed_decides_the_text(model: Transformer) -> None:
    def text(seed: int) -> str:
        return sample(model, LETTERS, 16, SamplingSettings(seed=seed))[0]

    assert text(0) == text(0) != text(1)


def test_length_shortens_the_text(model: Transformer) -> None:
    assert len(sample(model, LETTERS, 16, SamplingSettings(length=5))[0]) == 5


def test_dropout_is_off_and_the_training_mode_comes_back() -> None:
    wet, dry = (Transformer(ModelConfig(n_layer=1, n_head=2, n_embd=16, dropout=p), LETTERS.size, LETTERS.extended_size) for p in (0.5, 0))
    settings = SamplingSettings(num_samples=2, steps=4)
    assert sample(wet, LETTERS, 16, settings) == sample(dry, LETTERS, 16, settings)
    assert wet.training


def test_a_time_conditioned_model_is_told_the_share_still_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Transformer(ModelConfig(n_layer=1, n_head=2, n_embd=16, time_conditioning=True), LETTERS.size, LETTERS.extended_size)
    told, hidden = [], model.hidden

    def spy(tokens, noise_level, positions):  # type: ignore[no-untyped-def]
        told.append(float(noise_level[0]))
        return hidden(tokens, noise_level, positions)

    monkeypatch.setattr(model, "hidden", spy)
    sample(model, LETTERS, 64, SamplingSettings(steps=4))
    assert told == [1.0, 0.75, 0.5, 0.25]


def test_characters_are_drawn_by_their_probabilities() -> None:
    probability = np.array([0.5, 0.0, 0.3, 0.2])
    with np.errstate(divide="ignore"):
        logits = np.tile(np.log(probability), (1000, 1))
    u = (np.arange(1000) + 0.5) / 1000
    assert np.bincount(draw_characters(logits, u, 1.0), minlength=4).tolist() == [500, 0, 300, 200]
    sharp = probability**2 / (probability**2).sum()
    np.testing.assert_allclose(np.bincount(draw_characters(logits, u, 0.5), minlength=4), sharp * 1000, atol=1)
    assert set(draw_characters(logits, u, 0.0)) == {0}


def test_an_impossible_character_is_never_drawn_at_the_ends() -> None:
    logits = np.array([[-np.inf, 0.0, -np.inf]] * 2)
    assert draw_characters(logits, np.array([0.0, 1 - 2**-53]), 1.0).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("keys", "error", "words"),
    [
        ({"length": 17}, ConfigError, "sampling.length=17 is more than the model's block_size=16"),
        ({"prompt": "abcdef", "length": 5}, ConfigError, "sampling.prompt has 6 characters, more than the 5"),
        ({"prompt": "aXb"}, DataError, "X"),
    ],
)
def test_impossible_requests_are_refused(model: Transformer, keys: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        sample(model, LETTERS, 16, SamplingSettings.model_validate(keys))


@pytest.mark.parametrize("keys", [{"steps": 0}, {"temperature": -0.1}, {"num_samples": 0}, {"length": 0}, {"seed": -1}])
def test_settings_out_of_range_are_refused(keys: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(keys))):
        SamplingSettings.model_validate(keys)
