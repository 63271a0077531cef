"""What a configuration asks of the memory, by its numbers alone: told before anything is made of that size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

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
