"""What every sampler promises, whatever its strategy."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError
from reverse import LETTERS, network, run_sampler, settings_of

from masklab.errors import ConfigError, DataError
from masklab.model.transformer import Transformer
from masklab.rng import RowStreams, Stream, root_key
from masklab.sampling.canvas import Canvas, Draw
from masklab.sampling.generation import generate, sample
from masklab.sampling.judge import FoldedJudge
from masklab.sampling.sampler import Sampler
from masklab.sampling.settings import SamplingSettings, SamplingStrategy
from masklab.sampling.trace import Snapshot

MASK = LETTERS.mask_id
SAMPLERS: list[type[Sampler]] = list(get_args(get_args(SamplingStrategy)[0]))
NAMES = [str(sampler.model_fields["strategy"].default) for sampler in SAMPLERS]
every_strategy = pytest.mark.parametrize("strategy", NAMES)
CAUSAL = {name for name, sampler in zip(NAMES, SAMPLERS, strict=True) if sampler.causal}
every_strategy_that_fills = pytest.mark.parametrize("strategy", [name for name in NAMES if name not in CAUSAL])
TEMPLATE = "b[3]de[7]caf[*]h"


def keys_of(strategy: str) -> dict[str, Any]:
    """A strategy with few steps, where it has steps."""
    fields = SAMPLERS[NAMES.index(strategy)].model_fields
    return {"strategy": strategy} | ({"steps": 6} if "steps" in fields else {}) | ({"block_length": 8} if "block_length" in fields else {})


def network_for(strategy: str) -> Transformer:
    return network(causal=strategy in CAUSAL)


@every_strategy_that_fills
@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_nothing_stays_masked_and_given_characters_never_change(strategy: str, conditioned: bool, temperature: float) -> None:
    model = network(time_conditioning=conditioned)
    settings = settings_of(**keys_of(strategy), num_samples=3, temperature=temperature, prompt=TEMPLATE)
    seen: list[Snapshot] = []
    got = generate(model, LETTERS, 24, settings, watch=seen.append)
    for snapshot in (*seen, seen[-1]):
        assert np.array_equal(snapshot.tokens[got.given], seen[0].tokens[got.given])
        assert snapshot.tokens.max() <= MASK
        assert np.array_equal(np.isnan(snapshot.confidence), snapshot.tokens == MASK)
        assert (snapshot.placed_at[snapshot.tokens == MASK] == 0).all()
        assert snapshot.placed_at.max() <= snapshot.step
    assert got.tokens.max() < MASK
    assert np.array_equal(got.given[0], [c != "_" for c in "b___de_______caf_______h"])
    assert all(t[0] == "b" and t[4:6] == "de" and t[13:16] == "caf" and t[-1] == "h" for t in got.texts(LETTERS))
    assert (got.placed_at[~got.given] > 0).all()
    assert ((got.confidence > 0) & (got.confidence <= 1)).all()


@every_strategy
def test_each_text_is_as_it_would_be_alone(strategy: str) -> None:
    model = network_for(strategy).double()
    few, many = (generate(model, LETTERS, 16, settings_of(**keys_of(strategy), num_samples=n)) for n in (1, 5))
    assert np.array_equal(many.tokens[:1], few.tokens)
    assert np.array_equal(many.evaluations[:1], few.evaluations)
    assert len(np.unique(many.tokens, axis=0)) == 5


@every_strategy
def test_the_seed_decides_the_text(strategy: str) -> None:
    model = network_for(strategy)

    def text(seed: int) -> list[str]:
        return sample(model, LETTERS, 16, settings_of(**keys_of(strategy), seed=seed))

    assert text(0) == text(0) != text(1)


@every_strategy
def test_batch_size_changes_no_text(strategy: str) -> None:
    model = network_for(strategy).double()
    texts = [sample(model, LETTERS, 16, settings_of(**keys_of(strategy), num_samples=5, batch_size=n)) for n in (1, 2, 64)]
    assert texts[0] == texts[1] == texts[2]


@every_strategy
def test_reuse_changes_no_text_and_saves_passes_or_none(strategy: str) -> None:
    model, start = network_for(strategy).double(), np.full(16, MASK)
    settings = settings_of(**keys_of(strategy), num_samples=3)
    with_reuse, without = (run_sampler(model, start, MASK, settings, reuse=reuse) for reuse in (True, False))
    assert np.array_equal(with_reuse.tokens, without.tokens)
    assert (with_reuse.evaluations <= without.evaluations).all()


@every_strategy
def test_evaluations_are_the_passes_that_the_network_saw(strategy: str) -> None:
    model, shapes = network_for(strategy), []
    model.embedding.register_forward_hook(lambda _module, inputs, _output: shapes.append(inputs[0].shape))
    got = generate(model, LETTERS, 16, settings_of(**keys_of(strategy), num_samples=3))
    assert got.evaluations.sum() == sum(B for B, _ in shapes) > 0
    assert got.positions.sum() == sum(B * T for B, T in shapes)


@every_strategy
@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.1},
        {"top_k": 1},
        {"top_p": 0.2},
        {"repetition_penalty": 8.0},
        {"seed": 5},
        {"length": 9},
        {"prompt": "abba"},
        {"num_samples": 3},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_common_key_changes_the_texts(strategy: str, change: dict[str, Any]) -> None:
    model, keys = network_for(strategy), keys_of(strategy) | {"num_samples": 2}
    assert sample(model, LETTERS, 16, settings_of(**keys)) != sample(model, LETTERS, 16, settings_of(**keys | change))


@every_strategy
def test_the_repetition_window_changes_the_texts(strategy: str) -> None:
    model, keys = network_for(strategy), keys_of(strategy) | {"num_samples": 2, "repetition_penalty": 3.0}
    near, far = (sample(model, LETTERS, 16, settings_of(**keys, repetition_window=n)) for n in (1, 16))
    assert near != far


@every_strategy_that_fills
def test_a_text_that_is_all_given_but_one_character_is_written_in_one_pass(strategy: str) -> None:
    keys = keys_of(strategy) | {"prompt": "abcd[1]abcdabc"}
    got = generate(network(), LETTERS, 16, settings_of(**keys))
    assert (~got.given).sum() == 1
    assert got.evaluations[0] >= 1


@every_strategy
def test_settings_are_written_and_read_back_flat(strategy: str) -> None:
    settings = settings_of(**keys_of(strategy), temperature=0.5)
    written = settings.model_dump(mode="json")
    assert written["strategy"] == strategy and written["temperature"] == 0.5
    assert SamplingSettings.model_validate(written) == settings
    assert strategy.split("_", maxsplit=1)[0] in settings.sampler.describe().replace("-", " ").lower()


@pytest.mark.parametrize(
    ("keys", "error", "words"),
    [
        ({"length": 17}, ConfigError, "block_size"),
        ({"prompt": "abcdef", "length": 5}, ConfigError, "sampling.prompt"),
        ({"prompt": "aXb"}, DataError, "X"),
    ],
)
def test_impossible_requests_are_refused(keys: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        sample(network(), LETTERS, 16, settings_of(**keys))


def test_unknown_characters_follow_the_policy() -> None:
    model = network()
    masked, dropped = (sample(model, LETTERS, 16, settings_of(prompt="abXcd", unknown=policy))[0] for policy in ("mask", "drop"))
    assert masked.startswith("ab") and masked[3:5] == "cd" and masked[2] in "abcdefgh"
    assert dropped.startswith("abcd")


@pytest.mark.parametrize("keys", [{"steps": 0}, {"temperature": -0.1}, {"num_samples": 0}, {"length": 0}, {"seed": -1}, {"batch_size": 0}])
def test_settings_out_of_range_are_refused(keys: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(keys))):
        settings_of(**keys)


def test_a_judge_decides_what_is_masked_again() -> None:
    model, start = network(), np.full(16, MASK)
    by_detector = settings_of(strategy="remask", steps=6, remask_by="detector", detector_checkpoint="other", num_samples=2)
    by_entropy = settings_of(strategy="remask", steps=6, num_samples=2)
    judge = FoldedJudge(network(seed=9), MASK, 2)
    judged = run_sampler(model, start, MASK, by_detector, judge=judge)
    assert not np.array_equal(judged.tokens, run_sampler(model, start, MASK, by_entropy).tokens)
    assert judge.evaluations.sum() > 0
    assert judged.evaluations.sum() > judge.evaluations.sum()


def test_generated_texts_share_no_random_numbers_with_training() -> None:
    canvas = Canvas.of(np.full(4, MASK), np.zeros(4, bool), MASK, seed=1337, count=3)
    canvas.step = 5
    drawn = canvas.uniforms(Draw.ORDER)
    for stage, step, row in itertools.product(range(12), range(12), range(8)):
        streams = RowStreams.of(root_key(1337, stage, step), np.array([row]), 8)
        assert all(streams.uniforms(stream, 1)[0, 0] not in drawn for stream in Stream)


def test_a_huge_repetition_window_is_the_whole_text() -> None:
    model, keys = network(), {"repetition_penalty": 3.0, "num_samples": 2, "steps": 4}
    whole, huge = (sample(model, LETTERS, 16, settings_of(**keys, repetition_window=n)) for n in (16, 10**9))
    assert whole == huge
