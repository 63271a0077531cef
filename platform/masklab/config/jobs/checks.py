"""What no section can see alone: values of one that do not go with those of another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from masklab.errors import ConfigError
from masklab.modes.character_mode import CharacterMode
from masklab.modes.sequence_classifier import SequenceClassifier
from masklab.sampling.generation import start_of
from masklab.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from masklab.config.jobs.train import Config


MOST_CHARACTERS = 1 << 31
"""Characters of one pool, one batch, or the chunks that are kept ahead: several bytes each."""
MOST_WEIGHTS = 10**12
"""Weights of a model, four bytes each, and twice that for the optimizer."""


def too_large(config: Config) -> Iterator[str]:
    """One line for each part of a run that no machine could hold."""
    training, validation, model = config.training, config.validation, config.model
    T, stages = training.block_size, len(config.curriculum.pools)
    batch = training.chars_per_step
    sizes = {
        f"validation.sequences = {validation.sequences}": (validation.sequences * stages * T, f"{stages} pools of them"),
        f"validation.nelbo_sequences = {validation.nelbo_sequences}": (validation.nelbo_sequences * T, "a pool of them"),
        f"validation.final_nelbo_sequences = {validation.final_nelbo_sequences}": (validation.final_nelbo_sequences * T, "a pool of them"),
        f"validation.batch_size = {validation.batch_size}": ((validation.batch_size or 1) * T, "a batch"),
        f"training.batch_size = {training.batch_size}": (batch, "a global batch"),
    }
    for given, (characters, what) in sizes.items():
        if characters > MOST_CHARACTERS:
            yield f"{given}: {what} would have {characters:,} characters, and {MOST_CHARACTERS:,} is the most; give a smaller one"
    ahead = batch * config.batches.chunk_steps * config.batches.prefetch_chunks
    if batch <= MOST_CHARACTERS < ahead and config.batches.producer:
        yield (
            f"batches.prefetch_chunks = {config.batches.prefetch_chunks}: with batches.chunk_steps = {config.batches.chunk_steps} "
            f"{ahead:,} characters would be kept ahead, and {MOST_CHARACTERS:,} is the most; give smaller ones"
        )
    weights = model.n_layer * model.n_embd * (4 * model.n_embd + 2 * model.feed_forward_size)
    if weights > MOST_WEIGHTS:
        yield f"model.n_embd = {model.n_embd}: with model.n_layer = {model.n_layer} it would have {weights:,} weights; make it smaller"


def problems(config: Config) -> Iterator[str]:
    """One line for each disagreement between the sections of `config`."""
    training, scaling = config.training, config.scaling
    yield from too_large(config)
    if not scaling.sizes(training.rows_per_step):
        workers = f"[{scaling.fewest},{scaling.most}]" if scaling.is_elastic else f"{scaling.num_workers}"
        yield (
            f"scaling.num_workers = {workers}: a global batch of {training.rows_per_step} sequences (training.batch_size "
            f"{training.batch_size} x gradient_accumulation_steps {training.gradient_accumulation_steps}) cannot be split evenly"
        )
    if config.scaling.use_gpu and config.system.device in ("cpu", "mps"):
        yield f"scaling.use_gpu = true: goes with system.device=cuda or auto, not {config.system.device}"
    if config.scaling.use_gpu is False and config.system.device == "cuda":
        yield "system.device = cuda: needs scaling.use_gpu=true, or no scaling.use_gpu at all"
    yield from _mode_problems(config)
    yield from _transfer_problems(config)
    if config.mode.writes:
        yield from _sample_problems(config)
    if training.lowest_learning_rate > training.learning_rate:
        yield f"training.min_lr = {training.min_lr:g}: must be at most training.learning_rate, {training.learning_rate:g}"
    if training.lr_decay_iters is not None and training.lr_decay_iters < training.warmup_iters:
        yield f"training.lr_decay_iters = {training.lr_decay_iters}: must be at least training.warmup_iters, {training.warmup_iters}"


def _transfer_problems(config: Config) -> Iterator[str]:
    """Keys of transfer that mean nothing without others, and a head that cannot be trained alone."""
    transfer = config.transfer
    freezes = transfer.mode == "feature_extraction"
    if freezes and transfer.init_checkpoint is None:
        yield "transfer.mode = feature_extraction: freezes weights that nobody has trained; give transfer.init_checkpoint"
    elif freezes and isinstance(config.mode, CharacterMode) and config.model.tied_head:
        yield (
            f"transfer.mode = feature_extraction: trains the head alone, and the head of mode {config.mode.type} is the embedding itself, "
            "which every block builds on; use model.tied_head=false, which begins with a copy of it, or transfer.mode=fine_tuning"
        )
    if transfer.unfreeze_at_iter is not None and not freezes:
        yield (
            f"transfer.unfreeze_at_iter = {transfer.unfreeze_at_iter}: goes with transfer.mode=feature_extraction; "
            "fine_tuning freezes nothing"
        )
    for key, default in (("unfreeze_lr_factor", 1.0), ("unfreeze_warmup_iters", 0)):
        if transfer.unfreeze_at_iter is None and (value := getattr(transfer, key)) != default:
            yield f"transfer.{key} = {value:g}: without transfer.unfreeze_at_iter nothing is ever unfrozen; give it, or leave this out"
    if freezes and transfer.unfreeze_at_iter is None and transfer.layer_lr_decay != 1:
        yield (
            f"transfer.layer_lr_decay = {transfer.layer_lr_decay:g}: the head has the whole rate, and nothing else is ever trained; give "
            "transfer.unfreeze_at_iter, or leave this out"
        )
    if transfer.lineage and transfer.init_checkpoint is None:
        yield "transfer.lineage: is filled in from transfer.init_checkpoint; leave it out"


def _sample_problems(config: Config) -> Iterator[str]:
    """What is wrong with the sample of a run, whatever the text; its characters are looked at once the text is read."""
    if getattr(config.sampling.sampler, "detector_checkpoint", None) is not None:
        yield "sampling.remask_by = detector: a run's own sample has no second network; take entropy, or sample with jobs/sample.py"
    if config.sampling.unknown == "drop":
        return  # what is left of the prompt depends on the text
    try:
        any_character = config.sampling.suited(config.mode.causal).model_copy(update={"unknown": "mask"})
        start_of(any_character, Vocabulary((" ",)), config.training.block_size)
    except ConfigError as error:
        yield str(error)


def _mode_problems(config: Config) -> Iterator[str]:
    """A mode that masks needs stages that do, and the other way round."""
    mode, curriculum = config.mode, config.curriculum
    stages = {"stages": curriculum.stages, "validation_stages": curriculum.validation_stages or ()}
    for key, each in stages.items():
        unmasked = [number for number, stage in enumerate(each) if stage.masking.type == "none"]
        if mode.needs_masks and unmasked:
            yield f"curriculum.{key}.{unmasked[0]}.type = none: mode {mode.type} learns from masks; give the stage another type"
        if not mode.needs_masks and len(unmasked) < len(each):
            yield (
                f"curriculum = {curriculum.name}: mode {mode.type} masks nothing, so there is nothing for a curriculum to make harder; "
                "use curriculum=none"
            )
    yield from _label_problems(config)
    weighting = config.objective.weighting
    if weighting != "none" and not mode.fills_masks:
        told = f"weighs sequences by how much of them is masked, and mode {mode.type} masks none; use none"
        yield f"objective.weighting = {weighting}: {told}"
    normalisation = config.objective.normalisation
    if normalisation != "masked_mean" and not (mode.fills_masks or mode.labels_of == "tokens"):
        told = f"sequences count for as much as they have masks, and in mode {mode.type} all count alike; leave it out"
        yield f"objective.normalisation = {normalisation}: {told}"
    if isinstance(mode, SequenceClassifier):
        yield from _text_problems(config, mode)


def _text_problems(config: Config, mode: SequenceClassifier) -> Iterator[str]:
    """Keys that are for classes where a number is predicted, and blocks with no room for text."""
    if config.training.block_size < 2:
        yield f"training.block_size = {config.training.block_size}: [CLS] and one character need a block of 2 at least"
    if mode.target != "masked_ratio" and config.dataset.label_type != "number":
        return
    if smoothing := config.objective.label_smoothing:
        yield f"objective.label_smoothing = {smoothing:g}: spreads a target over classes, and a number is predicted; leave it out"
    if mode.class_weights != "none":
        yield f"mode.class_weights = {mode.class_weights}: weighs classes, and a number is predicted; leave it out"


def _label_problems(config: Config) -> Iterator[str]:
    """A mode that predicts labels needs a dataset that has them, and the other way round."""
    mode, dataset = config.mode, config.dataset
    if mode.labels_of == dataset.labels_of:
        return
    if mode.labels_of is None:
        yield (
            f"dataset = {dataset.name}: has labels, and mode {mode.type} reads plain text; take a plain text such as dataset=python_docs, "
            "or mode=sequence_classifier"
        )
    elif dataset.labels_of is None:
        yield (
            f"dataset = {dataset.name}: is plain text, and mode {mode.type} predicts labels; take dataset=python_packages, or "
            "dataset=labelled with dataset.path= dataset.text_column= dataset.label_column="
        )
    else:
        fitting = "token_labeller" if dataset.labels_of == "tokens" else "sequence_classifier"
        yield (
            f"mode = {mode.type}: predicts labels of {mode.labels_of}, and dataset {dataset.name} has labels of {dataset.labels_of}; "
            f"take mode={fitting}"
        )
