"""Iterative demasking against one row at a time in plain Python."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from one_row import drawn_character, network_probabilities
from pydantic import ValidationError
from reverse import LETTERS, network, run_sampler, settings_of

from masklab.errors import ConfigError
from masklab.sampling.canvas import Canvas, Draw
from masklab.sampling.judge import FoldedJudge
from masklab.sampling.remask import Remask
from masklab.sampling.settings import SamplingSettings
from masklab.sampling.trace import Snapshot

MASK = LETTERS.mask_id
START = np.array([MASK, MASK, 2, MASK, MASK, MASK, 5, MASK, MASK, MASK, MASK, 0])
OWN = [i for i, c in enumerate(START) if c == MASK]
RATIOS = {
    "linear": [0.75, 0.5, 0.25, 0.0],
    "cosine": [math.cos(math.pi / 8 * i) for i in (1, 2, 3)] + [0.0],
    (0.9, 0.2, 0.6): [0.9, 0.2, 0.6, 0.0],
}


def keys_of(ratios: Any, **keys: Any) -> dict[str, Any]:
    return {"strategy": "remask", "ratios": ratios} | ({} if isinstance(ratios, tuple) else {"steps": 4}) | keys


def masked_each_step(settings: SamplingSettings, **more: Any) -> list[np.ndarray]:
    """Where each text is masked after each step."""
    seen: list[Snapshot] = []
    run_sampler(network(), START, MASK, settings, watch=seen.append, **more)
    return [snapshot.tokens == MASK for snapshot in seen]


def entropy(probabilities: list[float]) -> float:
    return -sum(p * math.log(p) for p in probabilities if p > 0)


def pseudo_doubt(judge: Any, text: list[int]) -> dict[int, float]:
    """1 - p of each generated character with every second one of them hidden."""
    doubt = {}
    for fold in range(2):
        hidden = [i for i in OWN if i % 2 == fold]
        seen = [MASK if i in hidden else c for i, c in enumerate(text)]
        probabilities = network_probabilities(judge, seen, MASK)
        doubt |= {i: 1 - probabilities[i][text[i]] for i in hidden}
    return doubt


def one_row(model: Any, judge: Any, settings: SamplingSettings, ratios: list[float], row: int) -> list[list[int]]:
    """The text of row number `row` after each step."""
    sampler = settings.sampler
    assert isinstance(sampler, Remask)
    text, entropies, history = START.tolist(), {}, []
    for step, ratio in enumerate(ratios, start=1):
        canvas = Canvas.of(START, START != MASK, MASK, settings.seed, row + 1)
        canvas.step = step
        u_character, u_remask = canvas.uniforms(Draw.CHARACTER)[row], canvas.uniforms(Draw.REMASK)[row]
        probabilities = network_probabilities(model, text, MASK)
        for i in [i for i in OWN if text[i] == MASK]:
            text[i] = drawn_character(probabilities[i], float(u_character[i]), settings.temperature)
            entropies[i] = round(entropy(probabilities[i]), 4)
        doubt = entropies if sampler.remask_by == "entropy" else pseudo_doubt(judge, text)
        strength = 1.0 if sampler.remask_by == "random" else sampler.randomness_strength
        least_doubtful_first = sorted(OWN, key=lambda i: (doubt[i], u_remask[i]))
        rank = {i: place / (len(OWN) - 1) for place, i in enumerate(least_doubtful_first)}
        score = {i: (1 - strength) * rank[i] + strength * float(u_remask[i]) for i in OWN}
        for i in sorted(OWN, key=lambda i: -score[i])[: math.floor(len(OWN) * ratio + 1e-9)]:
            text[i] = MASK
        history.append(list(text))
    return history


@pytest.mark.parametrize("ratios", RATIOS)
@pytest.mark.parametrize(
    "doubt",
    [
        {"remask_by": "random"},
        {"remask_by": "entropy"},
        {"remask_by": "entropy", "randomness_strength": 0.4},
        {"remask_by": "detector", "detector_checkpoint": "x"},
        {"remask_by": "detector", "detector_checkpoint": "x", "randomness_strength": 0.4},
    ],
    ids=str,
)
def test_every_step_is_the_literal_one(ratios: Any, doubt: dict[str, Any]) -> None:
    settings = settings_of(**keys_of(ratios, **doubt), num_samples=5, temperature=0.7)
    model, judge, seen = network().double(), network(seed=8).double(), []
    run_sampler(model, START, MASK, settings, judge=FoldedJudge(judge, MASK, 5), watch=lambda s: seen.append(s.tokens))
    for row in range(5):
        assert [tokens[row].tolist() for tokens in seen[1:]] == one_row(model, judge, settings, RATIOS[ratios], row)


@pytest.mark.parametrize("ratios", RATIOS)
def test_the_share_masked_again_is_that_of_the_generated_positions(ratios: Any) -> None:
    masked = masked_each_step(settings_of(**keys_of(ratios), num_samples=3))
    assert [m.sum(axis=1).tolist() for m in masked[1:]] == [[math.floor(9 * r + 1e-9)] * 3 for r in RATIOS[ratios]]


def test_there_are_25_steps_unless_said_otherwise() -> None:
    assert Remask().remasked_shares() == (*[1 - i / 25 for i in range(1, 25)], 0.0)
    assert len(Remask(steps=3).remasked_shares()) == 3
    assert Remask(steps=1).remasked_shares() == (0.0,)


def test_a_list_of_ratios_ends_with_nothing_masked() -> None:
    assert Remask(ratios=(0.5, 0.2)).remasked_shares() == (0.5, 0.2, 0.0)
    assert Remask(ratios=(0.5, 0.0)).remasked_shares() == (0.5, 0.0)


def test_a_written_character_can_be_masked_again_at_any_later_step() -> None:
    settings = settings_of(strategy="remask", steps=9, remask_by="random", num_samples=40)
    masked = masked_each_step(settings)
    assert any((again & ~before).any() for before, again in pairwise(masked[1:]))


def test_strength_1_is_random_whatever_the_doubt() -> None:
    def tokens(**keys: Any) -> list[list[int]]:
        judge = FoldedJudge(network(seed=8), MASK, 4)
        settings = settings_of(strategy="remask", steps=6, num_samples=4, **keys)
        return run_sampler(network(), START, MASK, settings, judge=judge).tokens.tolist()  # type: ignore[no-any-return]

    chance = tokens(remask_by="random")
    assert tokens(randomness_strength=1) == chance
    assert tokens(randomness_strength=1, remask_by="detector", detector_checkpoint="x") == chance
    assert tokens() != chance


def test_what_is_equally_doubtful_is_masked_again_at_random() -> None:
    """A wholly masked text has the same distribution everywhere; the first positions must not be the ones that stay."""
    seen: list[Snapshot] = []
    settings = settings_of(strategy="remask", steps=2, num_samples=400)
    run_sampler(network(), np.full(8, MASK), MASK, settings, watch=seen.append)
    share = (seen[1].tokens == MASK).mean(axis=0)
    np.testing.assert_allclose(share, 0.5, atol=0.1)


def test_passes_of_the_judge_are_counted_where_anything_is_masked_again() -> None:
    settings = settings_of(strategy="remask", steps=5, remask_by="detector", detector_checkpoint="x", num_samples=3)
    judge = FoldedJudge(network(seed=8), MASK, 3)
    got = run_sampler(network(), START, MASK, settings, judge=judge)
    assert judge.evaluations.tolist() == [4 * 2] * 3
    assert got.evaluations.tolist() == [5 + 4 * 2] * 3


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 5},
        {"ratios": "cosine"},
        {"steps": None, "ratios": (0.5, 0.5, 0.5)},
        {"remask_by": "random"},
        {"remask_by": "detector", "detector_checkpoint": "x"},
        {"randomness_strength": 0.5},
    ],
    ids=str,
)
def test_every_key_changes_the_texts(change: dict[str, Any]) -> None:
    def tokens(**keys: Any) -> list[list[int]]:
        settings = settings_of(**{"strategy": "remask", "steps": 6, "num_samples": 4} | keys)
        return run_sampler(network(), START, MASK, settings, judge=FoldedJudge(network(seed=8), MASK, 4)).tokens.tolist()  # type: ignore[no-any-return]

    assert tokens(**change) != tokens()


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"steps": 5, "ratios": [0.5, 0.2]}, "own number of steps"),
        ({"ratios": [0.5, 1.0]}, "less than 1"),
        ({"ratios": [-0.1]}, "greater than or equal to 0"),
        ({"ratios": []}, "at least 1 item"),
        ({"ratios": "square"}, "linear"),
        ({"remask_by": "detector"}, "remask_by=detector lacks detector_checkpoint"),
        ({"detector_checkpoint": "x"}, "not used by remask_by=entropy; give remask_by=detector"),
        ({"remask_by": "random", "randomness_strength": 0.5}, "all chance"),
        ({"randomness_strength": 1.5}, "less than or equal to 1"),
        ({"steps": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings_of(strategy="remask", **keys)


def test_a_list_of_ratios_is_written_and_read_back() -> None:
    settings = settings_of(strategy="remask", ratios=[0.5, 0.25])
    assert SamplingSettings.model_validate(settings.model_dump(mode="json")) == settings


def test_a_detector_that_is_not_there_is_a_mistake_of_the_user() -> None:
    settings = settings_of(strategy="remask", remask_by="detector", detector_checkpoint="x")
    with pytest.raises(ConfigError, match="needs a second network"):
        run_sampler(network(), START, MASK, settings)
