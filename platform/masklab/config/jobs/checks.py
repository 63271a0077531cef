"""Checks between sections: values of one that do not go with those of another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from masklab.config.compose.validation_messages import Problem
from masklab.errors import ConfigError
from masklab.modes.character_mode import CharacterMode
from masklab.modes.sequence_classifier import SequenceClassifier
from masklab.sampling.generation import start_of
from masklab.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from masklab.config.jobs.train import Config


MOST_CHARACTERS = 1 << 31
"""Characters of one pool, one batch, or the prefetched chunks; each takes several bytes."""
MOST_WEIGHTS = 10**12
"""Weights of a model: four bytes each, and twice that for the optimizer."""


def problems(config: Config) -> Iterator[Problem]:
    """Each disagreement between the sections of `config`."""
    training, scaling = config.training, config.scaling
    yield from too_large(config)
    if not scaling.sizes(training.rows_per_step):
        workers = f"[{scaling.fewest},{scaling.most}]" if scaling.is_elastic else f"{scaling.num_workers}"
        yield _problem(
            "scaling.num_workers",
            workers,
            f"a global batch of {training.rows_per_step} sequences (training.batch_size {training.batch_size} x "
            f"gradient_accumulation_steps {training.gradient_accumulation_steps}) cannot be split evenly",
        )
    if scaling.use_gpu and config.system.device in ("cpu", "mps"):
        yield _problem("scaling.use_gpu", "true", f"goes with system.device=cuda or auto, not {config.system.device}")
    if scaling.use_gpu is False and config.system.device == "cuda":
        yield _problem("system.device", "cuda", "needs scaling.use_gpu=true, or no scaling.use_gpu at all")
    yield from _mode_problems(config)
    yield from _label_problems(config)
    yield from _objective_problems(config)
    yield from _transfer_problems(config)
    if config.mode.writes:
        yield from _sample_problems(config)
    if training.lowest_learning_rate > training.learning_rate:
        yield _problem("training.min_lr", f"{training.min_lr:g}", f"must be at most training.learning_rate, {training.learning_rate:g}")
    if training.lr_decay_iters is not None and training.lr_decay_iters < training.warmup_iters:
        yield _problem(
            "training.lr_decay_iters", training.lr_decay_iters, f"must be at least training.warmup_iters, {training.warmup_iters}"
        )


def too_large(config: Config) -> Iterator[Problem]:
    """The parts of a run that no machine could hold."""
    training, validation, model = config.training, config.validation, config.model
    T, stages = training.block_size, len(config.curriculum.pools)
    batch = training.chars_per_step
    sizes: tuple[tuple[str, int | None, int, str], ...] = (
        ("validation.sequences", validation.sequences, validation.sequences * stages * T, f"{stages} pools of this size"),
        ("validation.nelbo_sequences", validation.nelbo_sequences, validation.nelbo_sequences * T, "a pool of this size"),
        ("validation.final_nelbo_sequences", validation.final_nelbo_sequences, validation.final_nelbo_sequences * T, "a pool of this size"),
        ("validation.batch_size", validation.batch_size, (validation.batch_size or 1) * T, "a batch"),
        ("training.batch_size", training.batch_size, batch, "a global batch"),
    )
    for key, value, characters, what in sizes:
        if characters > MOST_CHARACTERS:
            yield _problem(
                key, value, f"{what} would have {characters:,} characters; the maximum is {MOST_CHARACTERS:,}; use a smaller value"
            )
    ahead = batch * config.batches.chunk_steps * config.batches.prefetch_chunks
    if batch <= MOST_CHARACTERS < ahead and config.batches.producer:
        yield _problem(
            "batches.prefetch_chunks",
            config.batches.prefetch_chunks,
            f"with batches.chunk_steps = {config.batches.chunk_steps}, {ahead:,} characters would be prefetched; the maximum is "
            f"{MOST_CHARACTERS:,}; use smaller values",
        )
    weights = model.n_layer * model.n_embd * (4 * model.n_embd + 2 * model.feed_forward_size)
    if weights > MOST_WEIGHTS:
        yield _problem(
            "model.n_embd", model.n_embd, f"with model.n_layer = {model.n_layer} the model has {weights:,} weights; make it smaller"
        )


def _mode_problems(config: Config) -> Iterator[Problem]:
    """A mode that masks needs stages that mask, and a mode that does not mask needs stages that do not."""
    mode, curriculum = config.mode, config.curriculum
    stages = {"stages": curriculum.stages, "validation_stages": curriculum.validation_stages or ()}
    for key, each in stages.items():
        unmasked = [number for number, stage in enumerate(each) if stage.masking.type == "none"]
        if mode.needs_masks and unmasked:
            yield _problem(
                f"curriculum.{key}.{unmasked[0]}.type", "none", f"mode {mode.type} learns from masks; give the stage another type"
            )
        if not mode.needs_masks and len(unmasked) < len(each):
            yield _problem("curriculum", curriculum.name, f"mode {mode.type} does not mask; use curriculum=none")


def _label_problems(config: Config) -> Iterator[Problem]:
    """A mode that predicts labels needs a dataset with labels, and any other mode a plain text."""
    mode, dataset = config.mode, config.dataset
    if mode.labels_of == dataset.labels_of:
        return
    if mode.labels_of is None:
        yield _problem(
            "dataset",
            dataset.name,
            f"has labels, and mode {mode.type} reads plain text; use a plain text such as dataset=python_docs, or mode=sequence_classifier",
        )
    elif dataset.labels_of is None:
        yield _problem(
            "dataset",
            dataset.name,
            f"is plain text, and mode {mode.type} predicts labels; use dataset=python_packages, or dataset=labelled with dataset.path= "
            "dataset.text_column= dataset.label_column=",
        )
    else:
        fitting = "token_labeller" if dataset.labels_of == "tokens" else "sequence_classifier"
        yield _problem(
            "mode",
            mode.type,
            f"predicts labels of {mode.labels_of}, and dataset {dataset.name} has labels of {dataset.labels_of}; use mode={fitting}",
        )


def _objective_problems(config: Config) -> Iterator[Problem]:
    """Keys of the objective, and of a classifier's classes, that the mode does not use."""
    mode, objective = config.mode, config.objective
    if objective.weighting != "none" and not mode.fills_masks:
        reason = f"weighs sequences by how much of them is masked, and mode {mode.type} masks none; use none"
        yield _problem("objective.weighting", objective.weighting, reason)
    if objective.normalisation != "masked_mean" and not (mode.fills_masks or mode.labels_of == "tokens"):
        reason = f"weighs sequences by their number of masks, and in mode {mode.type} all have the same weight; leave it out"
        yield _problem("objective.normalisation", objective.normalisation, reason)
    if not isinstance(mode, SequenceClassifier):
        return
    if config.training.block_size < 2:
        yield _problem("training.block_size", config.training.block_size, "[CLS] and one character need a block of at least 2")
    if mode.target == "masked_ratio" or config.dataset.label_type == "number":
        if smoothing := objective.label_smoothing:
            reason = "spreads a target over classes, and a number is predicted; leave it out"
            yield _problem("objective.label_smoothing", f"{smoothing:g}", reason)
        if mode.class_weights != "none":
            yield _problem("mode.class_weights", mode.class_weights, "weighs classes, and a number is predicted; leave it out")


def _transfer_problems(config: Config) -> Iterator[Problem]:
    """Keys of transfer that have no effect without others, and a head that cannot be trained alone."""
    transfer = config.transfer
    freezes = transfer.mode == "feature_extraction"
    if freezes and transfer.init_checkpoint is None:
        yield _problem("transfer.mode", "feature_extraction", "freezes weights that nobody has trained; give transfer.init_checkpoint")
    elif freezes and isinstance(config.mode, CharacterMode) and config.model.tied_head:
        yield _problem(
            "transfer.mode",
            "feature_extraction",
            f"trains only the head, and in mode {config.mode.type} the head shares its weights with the embedding that every block builds "
            "on; use model.tied_head=false, which starts with a copy of it, or transfer.mode=fine_tuning",
        )
    if transfer.unfreeze_at_iter is not None and not freezes:
        reason = "goes with transfer.mode=feature_extraction; fine_tuning freezes nothing"
        yield _problem("transfer.unfreeze_at_iter", transfer.unfreeze_at_iter, reason)
    for key, default in (("unfreeze_lr_factor", 1.0), ("unfreeze_warmup_iters", 0)):
        if transfer.unfreeze_at_iter is None and (value := getattr(transfer, key)) != default:
            reason = "has no effect without transfer.unfreeze_at_iter; give it, or leave this out"
            yield _problem(f"transfer.{key}", f"{value:g}", reason)
    if freezes and transfer.unfreeze_at_iter is None and transfer.layer_lr_decay != 1:
        reason = "the head has the full learning rate, and nothing else is trained; give transfer.unfreeze_at_iter, or leave this out"
        yield _problem("transfer.layer_lr_decay", f"{transfer.layer_lr_decay:g}", reason)
    if transfer.lineage and transfer.init_checkpoint is None:
        yield Problem(("transfer.lineage",), "transfer.lineage: is filled in from transfer.init_checkpoint; leave it out")


def _sample_problems(config: Config) -> Iterator[Problem]:
    """What is wrong with the sample of a run for any text; its characters are checked once the text is read."""
    if getattr(config.sampling.sampler, "detector_checkpoint", None) is not None:
        reason = "a run's own sample has no second network; use entropy, or sample with jobs/sample.py"
        yield _problem("sampling.remask_by", "detector", reason)
    if config.sampling.unknown == "drop":
        return  # what is left of the prompt depends on the text
    try:
        any_character = config.sampling.suited(config.mode.causal).model_copy(update={"unknown": "mask"})
        start_of(any_character, Vocabulary((" ",)), config.training.block_size)
    except ConfigError as error:
        yield Problem(("sampling.length", "sampling.prompt"), str(error))


def _problem(key: str, value: Any, reason: str) -> Problem:
    return Problem((key,), f"{key} = {value}: {reason}")
