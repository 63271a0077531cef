"""Remasking that keeps the marginals, against one row at a time in plain Python and a process that can be enumerated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from one_row import drawn_character, network_probabilities
from pydantic import ValidationError
from reverse import JOINT, LETTERS, joint_counts, network, run_sampler, settings_of
from scipy import stats

from masklab.sampling.canvas import Canvas, Draw
from masklab.sampling.remdm import ReMDM
from masklab.sampling.sampler import masked_shares
from masklab.sampling.settings import SamplingSettings

MASK = LETTERS.mask_id
START = np.array([MASK, MASK, 2, MASK, MASK, MASK, 5, MASK, MASK, MASK, MASK, 0])
KINDS = [{"remdm_schedule": "cap", "eta": 0.3}, {"remdm_schedule": "rescale", "eta": 0.6}, {"remdm_schedule": "rescale", "eta": 1.0}]


def sigma_of(sampler: ReMDM, alpha_t: float, alpha_s: float) -> float:
    """Section 4.1 of the paper, word for word."""
    sigma_max = 1.0 if alpha_t == 0 else min(1.0, (1 - alpha_s) / alpha_t)
    return min(sampler.eta, sigma_max) if sampler.remdm_schedule == "cap" else sampler.eta * sigma_max


def one_row(model: Any, settings: SamplingSettings, row: int) -> list[list[int]]:
    """The text of row number `row` after each step."""
    sampler = settings.sampler
    assert isinstance(sampler, ReMDM)
    alphas = [1 - float(share) for share in masked_shares(sampler.schedule, sampler.steps)]
    text, history = START.tolist(), []
    for step in range(1, sampler.steps + 1):
        alpha_t, alpha_s = alphas[step - 1], alphas[step]
        sigma = sigma_of(sampler, alpha_t, alpha_s)
        canvas = Canvas.of(START, START != MASK, MASK, settings.seed, row + 1)
        canvas.step = step
        u_character, u_order, u_remask = (canvas.uniforms(d)[row] for d in (Draw.CHARACTER, Draw.ORDER, Draw.REMASK))
        probabilities = network_probabilities(model, text, MASK)
        before = list(text)
        for i in np.flatnonzero(START == MASK):
            if before[i] != MASK:
                text[i] = MASK if u_remask[i] < sigma else before[i]
            elif u_order[i] < (alpha_s - (1 - sigma) * alpha_t) / (1 - alpha_t):
                text[i] = drawn_character(probabilities[i], float(u_character[i]), settings.temperature)
        history.append(list(text))
    return history


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_every_step_is_the_literal_one(kind: dict[str, Any], schedule: str) -> None:
    settings = settings_of(strategy="remdm", steps=9, schedule=schedule, num_samples=3, temperature=0.7, **kind)
    model, seen = network().double(), []
    run_sampler(model, START, MASK, settings, watch=lambda s: seen.append(s.tokens))
    for row in range(3):
        assert [tokens[row].tolist() for tokens in seen[1:]] == one_row(model, settings, row)


@pytest.mark.parametrize("kind", [{"remdm_schedule": "cap", "eta": 0.004}, {"remdm_schedule": "rescale", "eta": 0.01}], ids=str)
def test_many_steps_reproduce_the_joint_distribution(kind: dict[str, Any]) -> None:
    samples = 6000
    assert stats.chisquare(joint_counts(samples, strategy="remdm", steps=400, **kind), JOINT * samples).pvalue > 0.01


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("schedule", ["linear", "cosine", "polynomial"])
def test_the_share_still_masked_follows_the_schedule_whatever_is_masked_again(kind: dict[str, Any], schedule: str) -> None:
    shares, again, before = [], [], np.full((64, 96), MASK)

    def watch(snapshot: Any) -> None:
        nonlocal before
        shares.append((snapshot.tokens == MASK).mean())
        again.append(((snapshot.tokens == MASK) & (before != MASK)).sum())
        before = snapshot.tokens

    settings = settings_of(strategy="remdm", steps=8, schedule=schedule, num_samples=64, **kind)
    run_sampler(network(), np.full(96, MASK), MASK, settings, watch=watch)
    # five standard deviations of 64 * 96 tosses
    np.testing.assert_allclose(shares, masked_shares(settings.sampler.schedule, 8), atol=0.032)  # type: ignore[union-attr]
    assert min(again[2:-1]) > 0 and again[-1] == 0


@pytest.mark.parametrize("remdm_schedule", ["cap", "rescale"])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "polynomial"])
def test_without_remasking_it_is_ancestral_sampling(remdm_schedule: str, schedule: str) -> None:
    common = {"steps": 10, "schedule": schedule, "num_samples": 3}
    plain = run_sampler(network(), START, MASK, settings_of(strategy="stochastic", **common))
    remasking = run_sampler(network(), START, MASK, settings_of(strategy="remdm", eta=0, remdm_schedule=remdm_schedule, **common))
    for name in ("tokens", "placed_at", "confidence", "evaluations", "written"):
        assert np.array_equal(getattr(plain, name), getattr(remasking, name)), name


def test_all_that_can_be_masked_again_is_the_same_under_both_schedules() -> None:
    cap, rescale = (
        run_sampler(network(), START, MASK, settings_of(strategy="remdm", eta=1, remdm_schedule=kind, steps=12))
        for kind in ("cap", "rescale")
    )
    assert np.array_equal(cap.tokens, rescale.tokens)


@pytest.mark.parametrize("eta", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("kind", ["cap", "rescale"])
def test_sigma_is_a_probability_that_leaves_one_to_write_with(kind: Any, eta: float) -> None:
    sampler = ReMDM(eta=eta, remdm_schedule=kind)
    shares = [1.0, 1.0, 0.999, 0.6, 0.4, 0.05, 0.0, 0.0]
    for place, now in enumerate(shares):
        for then in shares[place:]:
            sigma = sampler.sigma(now, then)
            assert sigma == pytest.approx(sigma_of(sampler, 1 - now, 1 - then))
            assert 0 <= sigma <= 1
            assert now - then + sigma * (1 - now) <= now + 1e-12
            assert now == 1 or then > 0 or sigma == 0


def test_only_a_text_in_which_something_is_written_takes_a_pass() -> None:
    got = run_sampler(network(), START, MASK, settings_of(strategy="remdm", steps=400, eta=0.004, num_samples=4), reuse=False)
    assert (got.evaluations == (got.written > 0).sum(axis=0)).all()
    assert got.evaluations.max() < 60
    assert got.evaluations.max() > 9, "something was masked again"


@pytest.mark.parametrize("change", [{"steps": 9}, {"schedule": "cosine"}, {"remdm_schedule": "rescale"}, {"eta": 0.3}], ids=str)
def test_every_key_changes_the_texts(change: dict[str, Any]) -> None:
    def tokens(**keys: Any) -> list[list[int]]:
        settings = settings_of(**{"strategy": "remdm", "steps": 10, "eta": 0.5, "num_samples": 6} | keys)
        return run_sampler(network(), START, MASK, settings).tokens.tolist()  # type: ignore[no-any-return]

    assert tokens(**change) != tokens()


@pytest.mark.parametrize("keys", [{"eta": -0.1}, {"eta": 1.1}, {"steps": 0}, {"remdm_schedule": "loop"}])
def test_what_is_out_of_range_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(keys))):
        settings_of(strategy="remdm", **keys)
