"""Writing from left to right: against a plain loop, with and without kept keys and values, and past the end of a block."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from one_row import drawn_character
from reverse import LETTERS, V, network, settings_of

from masklab.errors import ConfigError
from masklab.model.transformer import Transformer
from masklab.sampling.autoregressive import Autoregressive
from masklab.sampling.canvas import Canvas, Draw
from masklab.sampling.generation import Generation, before, generate, sample
from masklab.sampling.settings import SamplingSettings
from masklab.text.vocabulary import Vocabulary

BLOCK = 8
ABC = Vocabulary.of_text("abc")


def model_of(**keys: Any) -> Transformer:
    """Exact enough that no draw falls on the other side of a rounding error."""
    return network(causal=True, **keys).double()


def written(model: Transformer, **keys: Any) -> Generation:
    return generate(model, LETTERS, BLOCK, settings_of(strategy="autoregressive", num_samples=3, seed=5, **keys))


def plain_text(model: Transformer, prompt: str, length: int, row: int, stride: int, temperature: float) -> str:
    """Character by character in plain Python, the whole window through the network each time."""
    start = np.full(length, LETTERS.mask_id)
    u = Canvas.of(start, start < 0, LETTERS.mask_id, 5, row + 1).uniforms(Draw.CHARACTER)[row]
    text = [LETTERS.characters.index(c) for c in prompt] or [0]
    hidden = 0 if prompt else 1
    while len(text) - hidden < length:
        first = 0
        while len(text) - first > BLOCK:
            first += stride
        with torch.no_grad():
            logits = model(torch.tensor([text[first:]]), torch.zeros(1))[0, -1].tolist()
        exponentials = [math.exp(z - max(logits)) for z in logits]
        p = [e / sum(exponentials) for e in exponentials]
        text.append(drawn_character(p, float(u[len(text) - hidden]), temperature))
    return "".join(LETTERS.characters[t] for t in text[hidden:])


@pytest.mark.parametrize("prompt", ["", "ab", "abcdefghabcd"])
@pytest.mark.parametrize(("stride", "conditioned"), [(None, False), (1, False), (3, True), (BLOCK, False)])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_is_a_plain_loop_over_windows(prompt: str, stride: int | None, conditioned: bool, temperature: float) -> None:
    model = model_of(time_conditioning=conditioned)
    got = written(model, prompt=prompt, length=30, stride=stride, temperature=temperature)
    expected = [plain_text(model, prompt, 30, row, stride or BLOCK // 2, temperature) for row in range(3)]
    assert got.texts(LETTERS) == expected


@pytest.mark.parametrize("keys", [{}, {"top_k": 3}, {"top_p": 0.6}, {"repetition_penalty": 2.0}, {"stride": 3}], ids=str)
def test_the_cache_changes_no_character_and_saves_most_of_the_positions(keys: dict[str, Any]) -> None:
    model = model_of()
    kept, anew = (written(model, length=40, cache=cache, **keys) for cache in (True, False))
    assert np.array_equal(kept.tokens, anew.tokens)
    assert np.array_equal(kept.evaluations, anew.evaluations) and (kept.evaluations == 40).all()
    assert (kept.positions < anew.positions / 2).all()


def test_within_a_block_each_position_goes_through_the_network_once() -> None:
    kept, anew = (written(model_of(), prompt="abc", length=BLOCK, cache=cache) for cache in (True, False))
    assert kept.positions.tolist() == [3 + 4] * 3  # the prompt, and all that is written but the last
    assert anew.positions.tolist() == [3 + 4 + 5 + 6 + 7] * 3


def test_beyond_a_block_a_window_is_read_anew_only_when_it_moves_on() -> None:
    got = written(model_of(), prompt="a", length=BLOCK + 1 + 3 * 4)
    # 1 to 8 are seen once each; then, three times, 5 characters at once and 3 more, and a last window of 5
    assert got.positions.tolist() == [8 + 3 * (5 + 3)] * 3


def test_a_longer_text_begins_as_a_shorter_one() -> None:
    short, long = (written(model_of(), length=n).texts(LETTERS) for n in (6, 25))
    assert [text[:6] for text in long] == short


def test_texts_come_as_often_as_their_probability() -> None:
    model, T, count = network(vocabulary=ABC, causal=True), 3, 20_000
    settings = settings_of(strategy="autoregressive", num_samples=count, seed=2, batch_size=5000)
    tokens = generate(model, ABC, T, settings).tokens
    texts = list(itertools.product(range(V), repeat=T))
    with torch.no_grad():
        log_p = model(torch.tensor([(0, *text[:-1]) for text in texts])).log_softmax(-1)
    p = np.array([math.exp(sum(float(log_p[i, t, c]) for t, c in enumerate(text))) for i, text in enumerate(texts)])
    assert p.sum() == pytest.approx(1)
    counts = np.bincount(tokens @ V ** np.arange(T - 1, -1, -1), minlength=V**T)
    chi_squared = float(((counts - count * p) ** 2 / (count * p)).sum())
    assert chi_squared < 60  # 26 degrees of freedom: less than once in ten thousand


@pytest.mark.parametrize(("characters", "expected"), [("\n abc", "\n"), (" abc", " "), ("abc", "a")])
def test_a_text_begins_after_a_new_line_if_there_is_one(characters: str, expected: str) -> None:
    vocabulary = Vocabulary.of_text(characters)
    assert vocabulary.characters[before(vocabulary)] == expected


def test_gaps_before_given_characters_are_refused() -> None:
    for keys in ({"prompt": "ab[2]c"}, {"prompt": "[*]abc"}, {"prompt": "aXb", "unknown": "mask"}):
        with pytest.raises(ConfigError, match="a language model writes only what comes after") as caught:
            written(model_of(), **keys)
        assert "\n" not in str(caught.value)
    assert [len(text) for text in written(model_of(), prompt="ab[5]").texts(LETTERS)] == [7] * 3


def test_the_window_moves_on_by_no_more_than_it_holds() -> None:
    with pytest.raises(ConfigError, match=r"sampling\.stride=9 is more than the model's block_size=8"):
        written(model_of(), stride=BLOCK + 1)


@pytest.mark.parametrize(("causal", "kind"), [(True, "autoregressive"), (False, "stochastic")])
def test_without_a_sampler_the_models_own_is_taken(causal: bool, kind: str) -> None:
    settings = SamplingSettings(seed=3)
    assert settings.suited(causal).sampler.strategy == kind
    assert settings.suited(causal).suited(causal) == settings.suited(causal)
    assert len(sample(network(causal=causal), LETTERS, BLOCK, settings)[0]) == BLOCK


@pytest.mark.parametrize(
    ("causal", "keys", "words"),
    [
        (True, {"strategy": "confidence"}, "sampling.strategy = confidence: fills masks"),
        (True, {"steps": 8}, r"sampling.strategy = stochastic \(with steps\): fills masks"),
        (True, {"strategy": "stochastic"}, "sampling.strategy=autoregressive"),
        (False, {"strategy": "autoregressive"}, "writes with a language model"),
    ],
)
def test_a_sampler_of_the_other_kind_is_refused(causal: bool, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        sample(network(causal=causal), LETTERS, BLOCK, settings_of(**keys))


def test_it_says_what_it_is() -> None:
    assert Autoregressive().describe() == "autoregressive"
    assert Autoregressive(stride=4).describe() == "autoregressive, stride 4"
