"""The objective against a literal loss, at its edges, and every key that should change it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, get_args
from zlib import crc32

import numpy as np
import pytest
import torch
from recipes import recipe

from masklab.corruption.diffusion import Diffusion
from masklab.corruption.masking import MaskDraw
from masklab.corruption.noise_schedule import SCHEDULES
from masklab.model.transformer import Transformer
from masklab.modes.token_classifier import TokenClassifier
from masklab.text.corpus import TokenCorpus
from masklab.training.data.batch import Batch, BatchKey, digest_of
from masklab.training.loss import LossModule, denominator, row_coefficients
from masklab.training.optimizer import make_optimizer
from masklab.training.precision import Precision
from masklab.training.ranks import Ranks
from masklab.training.recipe import Recipe
from masklab.training.settings import ObjectiveSettings
from masklab.training.step import Stepper, StepResult

V, EXTENDED, MASK = 5, 8, 5
WEIGHTINGS = get_args(ObjectiveSettings.model_fields["weighting"].annotation)
NORMALISATIONS = get_args(ObjectiveSettings.model_fields["normalisation"].annotation)
every_weighting = pytest.mark.parametrize("weighting", WEIGHTINGS)
every_normalisation = pytest.mark.parametrize("normalisation", NORMALISATIONS)

SOME, NONE, ALL = [True, False, True, False], [False] * 4, [True] * 4


def network(made: Recipe, size: int, extended_size: int) -> Transformer:
    """A model whose every weight is away from its first value; weights of one name are the same in any two."""
    model = Transformer(made.model, size, extended_size)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(crc32(name.encode()))))
    return model


def objective_of(weighting: str, normalisation: str, label_smoothing: float = 0.0) -> ObjectiveSettings:
    values = {"weighting": weighting, "normalisation": normalisation, "label_smoothing": label_smoothing}
    return ObjectiveSettings.model_validate(values)


def draw_of(rows: list[list[bool]]) -> MaskDraw:
    """A draw of a cosine-like process, whose weight is not one over its probability."""
    selected = np.array(rows)
    probability = np.where(selected.any(axis=1), np.linspace(0.3, 0.9, len(rows)), 0.0)
    return MaskDraw.at(selected, probability, 1.7)


def batch_of(draw: MaskDraw, objective: ObjectiveSettings) -> Batch:
    targets = np.random.default_rng(3).integers(0, V, draw.selected.shape).astype(np.uint8)
    inputs = np.where(draw.selected, np.uint8(MASK), targets)
    key, rows = BatchKey(0, 0), np.arange(len(targets))
    return Batch(
        key=key,
        inputs=inputs,
        targets=targets,
        selected=draw.selected,
        noise_level=draw.probability,
        coefficients=row_coefficients(objective, draw),
        denominator=denominator(objective, draw.selected),
        digest=digest_of(key, rows, inputs, targets, draw.selected),
    )


def take(model: Transformer, batch: Batch, label_smoothing: float, micro_batch_size: int = 2) -> StepResult:
    """One step of the optimizer, which changes `model`."""
    parameters = tuple(model.parameters())
    made = recipe()
    precision = Precision.of(made.system, torch.device("cpu"))
    optimizer = make_optimizer(model, made.training, made.transfer, precision.device)
    module = LossModule(model, TokenClassifier(), label_smoothing)
    stepper = Stepper(module, parameters, optimizer, precision.scaler(), precision, Ranks(), micro_batch_size, grad_clip=1.0)
    return stepper.take(batch, 1e-3)


def literal_loss(model: Transformer, batch: Batch, draw: MaskDraw, objective: ObjectiveSettings) -> float:
    """The loss by its definition, one position at a time, in double precision."""
    with torch.no_grad():
        logits = model(torch.from_numpy(batch.inputs.astype(np.int64)), torch.from_numpy(batch.noise_level)).double()
    log_q = torch.log_softmax(logits, dim=-1).numpy()
    assert log_q.shape[-1] == V  # special tokens have no logits
    of_row: list[float] = []
    for b, selected in enumerate(draw.selected):
        places = np.flatnonzero(selected)
        if not len(places):
            of_row.append(0.0)
            continue
        weight = {
            "none": 1.0,
            "inverse_mask_prob": 1 / draw.probability[b],
            "inverse_sqrt_mask_ratio": (len(places) / len(selected)) ** -0.5,
            "elbo": 1.7 / draw.probability[b],
        }[objective.weighting]
        smoothing = objective.label_smoothing
        losses = [-(1 - smoothing) * log_q[b, i, batch.targets[b, i]] - smoothing * log_q[b, i].sum() / V for i in places]
        of_row.append(weight * sum(losses))
    counts = draw.selected.sum(axis=1)
    if objective.normalisation == "masked_mean":
        return sum(of_row) / max(counts.sum(), 1)
    if objective.normalisation == "per_token":
        return sum(of_row) / draw.selected.size
    return sum(total / max(count, 1) for total, count in zip(of_row, counts, strict=True)) / max((counts > 0).sum(), 1)


@every_weighting
@every_normalisation
@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
@pytest.mark.parametrize("rows", [[SOME, NONE, ALL], [ALL, ALL], [NONE, SOME], [NONE, NONE, NONE]], ids=str)
def test_a_step_has_the_literal_loss_and_finite_gradients(
    weighting: str, normalisation: str, label_smoothing: float, rows: list[list[bool]]
) -> None:
    objective, draw = objective_of(weighting, normalisation, label_smoothing), draw_of(rows)
    batch, model = batch_of(draw, objective), network(recipe(), V, EXTENDED)
    expected = literal_loss(model, batch, draw, objective)
    result = take(model, batch, label_smoothing)
    assert float(result.loss) == pytest.approx(expected, rel=2e-5)
    assert np.isfinite(batch.coefficients).all()
    assert torch.isfinite(result.grad_norm)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    if not draw.selected.any():
        assert float(result.loss) == float(result.plain_sum) == float(result.grad_norm) == 0.0


def test_only_selected_positions_and_real_characters_count() -> None:
    """The zero masking probabilities and carry-over unmasking of Sahoo et al. 2024, section 3.2.3, as far as the loss goes."""
    objective, draw = objective_of("elbo", "per_token", 0.2), draw_of([SOME, ALL, NONE])
    batch = batch_of(draw, objective)
    expected = float(take(network(recipe(), V, EXTENDED), batch, 0.2).loss)
    elsewhere = np.where(draw.selected, batch.targets, (batch.targets + 1) % V)
    assert float(take(network(recipe(), V, EXTENDED), replace(batch, targets=elsewhere), 0.2).loss) == expected
    model = network(recipe(), V, EXTENDED)
    with torch.no_grad():
        model.embedding.weight[MASK + 1 :] += 10.0  # other special tokens than the mask, which is part of the inputs
    assert float(take(model, batch, 0.2).loss) == expected


@every_weighting
@every_normalisation
def test_passes_of_any_size_and_workers_parts_add_up(weighting: str, normalisation: str) -> None:
    objective, draw = objective_of(weighting, normalisation), draw_of([SOME, NONE, ALL, SOME])
    batch = batch_of(draw, objective)
    losses = [float(take(network(recipe(), V, EXTENDED), batch, 0.0, size).loss) for size in (1, 3, 4)]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)
    parts = [MaskDraw(draw.selected[s], draw.probability[s], draw.elbo_weight[s]) for s in (slice(0, 1), slice(1, 4))]
    assert np.concatenate([row_coefficients(objective, part) for part in parts]).tolist() == batch.coefficients.tolist()
    assert sum(denominator(objective, part.selected) for part in parts) == batch.denominator


def outcome(corpus: TokenCorpus, **sections: dict[str, Any]) -> dict[str, object]:
    """Everything that a step of this recipe is made of, and its loss."""
    made = recipe(training={"batch_size": 8}, **sections)
    batch = made.batch_maker(corpus).make(BatchKey(0, 3))
    model = network(made, corpus.vocabulary.size, corpus.vocabulary.extended_size)
    loss = take(model, batch, made.objective.label_smoothing, 8).loss
    arrays = (batch.inputs, batch.selected, batch.coefficients)
    return {"batch": b"".join(a.tobytes() for a in arrays), "loss": float(loss)}


def stage(**keys: Any) -> dict[str, Any]:
    return {"curriculum": {"stages": [{"type": "diffusion"} | keys]}, "objective": {"weighting": "elbo"}}


def schedule(name: str, **keys: Any) -> dict[str, Any]:
    return stage(schedule={"type": name} | keys)


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Linear.eps": (schedule("linear"), schedule("linear", eps=0.1)),
    "Cosine.offset": (schedule("cosine"), schedule("cosine", offset=0.1)),
    "Cosine.clip": (schedule("cosine"), schedule("cosine", clip=0.6)),
    "Polynomial.power": (schedule("polynomial"), schedule("polynomial", power=3)),
    "LogLinear.eps": (schedule("loglinear"), schedule("loglinear", eps=0.1)),
    "Geometric.sigma_min": (schedule("geometric"), schedule("geometric", sigma_min=0.01)),
    "Geometric.sigma_max": (schedule("geometric"), schedule("geometric", sigma_max=2.0)),
    "Diffusion.schedule": (schedule("linear"), schedule("polynomial")),
    "Diffusion.timesteps": (stage(), stage(timesteps=3)),
    "Diffusion.beta": (stage(beta=[2, 3]), stage(beta=[3, 2])),
    "Diffusion.restore_elbo": (stage(beta=[2, 3]), stage(beta=[2, 3], restore_elbo=False)),
    "Diffusion.replacement": (stage(), stage(replacement={"mask": 0.5, "keep": 0.5})),
    "ObjectiveSettings.weighting": ({"objective": {"weighting": "none"}}, {"objective": {"weighting": "inverse_sqrt_mask_ratio"}}),
    "ObjectiveSettings.normalisation": ({"objective": {"normalisation": "per_token"}}, {"objective": {"normalisation": "per_sequence"}}),
    "ObjectiveSettings.label_smoothing": ({"objective": {"label_smoothing": 0.1}}, {"objective": {"label_smoothing": 0.2}}),
    "ModelConfig.time_conditioning": ({"model": {"time_conditioning": False}}, {"model": {"time_conditioning": True}}),
}
"""Every key of a schedule, of the diffusion stage and of the objective: a configuration, and one that differs in that key alone."""


@pytest.mark.parametrize("key", CHANGES)
def test_every_key_changes_the_loss(key: str, corpus: TokenCorpus) -> None:
    before, after = CHANGES[key]
    one, other = outcome(corpus, **before), outcome(corpus, **after)
    assert one == outcome(corpus, **before)
    assert one["loss"] != other["loss"]
    in_the_loss_alone = key in ("ObjectiveSettings.label_smoothing", "ModelConfig.time_conditioning")
    assert (one["batch"] == other["batch"]) == in_the_loss_alone


def test_no_key_is_left_out() -> None:
    sections = (*SCHEDULES.values(), Diffusion, ObjectiveSettings)
    keys = {f"{section.__name__}.{key}" for section in sections for key in section.model_fields if key != "type"}
    assert keys | {"ModelConfig.time_conditioning"} == CHANGES.keys()


def test_every_weighting_and_normalisation_is_another_objective(corpus: TokenCorpus) -> None:
    stages = {"stages": [{"type": "diffusion", "schedule": "cosine"}]}
    losses = [
        outcome(corpus, curriculum=stages, objective={"weighting": weighting, "normalisation": normalisation})["loss"]
        for weighting, normalisation in itertools.product(WEIGHTINGS, NORMALISATIONS)
    ]
    assert len(set(losses)) == len(WEIGHTINGS) * len(NORMALISATIONS)


def test_a_time_conditioned_model_hears_the_noise_level_and_no_other_does() -> None:
    objective, draw = objective_of("none", "masked_mean"), draw_of([SOME, ALL])
    batch = batch_of(draw, objective)
    other = replace(batch, noise_level=batch.noise_level / 2)
    for time_conditioning in (False, True):
        made = recipe(model={"time_conditioning": time_conditioning})
        losses = {float(take(network(made, V, EXTENDED), b, 0.0).loss) for b in (batch, other)}
        assert len(losses) == 1 + time_conditioning
