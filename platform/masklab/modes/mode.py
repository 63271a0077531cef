"""The base of all modes: a way to make examples, a head, a loss, and metrics.

The loop, the curricula, the checkpoints and the tracking are the same for all. A mode is one file, and one line in `any_mode.py`.

Shapes: B sequences, T positions, N counted positions in the batch, O outputs of the head, K scores of one sequence.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from masklab.corruption.masking import Masking
from masklab.modes.examples import Examples
from masklab.rng import RowStreams
from masklab.schema import Section
from masklab.text.labels import Labels, Unit
from masklab.text.rows import Rows
from masklab.text.vocabulary import Vocabulary

if TYPE_CHECKING:  # a configuration is read without loading torch
    import torch
    from torch import Tensor

    from masklab.model.config import ModelConfig
    from masklab.model.transformer import Transformer


@dataclass(frozen=True)
class ModeBatch:
    """A micro-batch on the model's device.

    `inputs` (B, T) int64; `noise_level` (B,) float32; `positions` (N,) int64 into the flattened (B * T,) rows;
    `targets` (N,), int64 or float32, what is to be predicted there; `rows` (N,) int64, the sequence of each.
    """

    inputs: Tensor
    noise_level: Tensor
    positions: Tensor
    targets: Tensor
    rows: Tensor

    def to(self, device: torch.device) -> ModeBatch:
        """A copy on `device`, without waiting for it when the memory is pinned."""
        return ModeBatch(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


class Mode(Section):
    """What the model learns to predict."""

    causal: ClassVar[bool] = False
    """Whether a position sees only itself and those before it."""
    writes: ClassVar[bool] = False
    """Whether the model can generate text."""
    fills_masks: ClassVar[bool] = False
    """Whether exactly the positions that a stage selects are counted."""
    judges: ClassVar[bool] = False
    """Whether the model can judge the characters of a written text."""

    @property
    def needs_masks(self) -> bool:
        """Whether the stages of the curriculum decide what is corrupted. Otherwise they must mask nothing."""
        return True

    @property
    def labels_of(self) -> Unit | None:
        """What must have labels: whole rows, or each of their tokens; None where plain text is read."""
        return None

    @property
    def yardstick(self) -> Masking | None:
        """The corruption under which a mean over counted positions is a likelihood, or a bound on it; None where there is none."""
        return None

    def window(self, block_size: int) -> int:
        """Tokens of text behind an example of T = `block_size` positions."""
        return block_size

    @abstractmethod
    def examples(self, rows: Rows, masking: Masking, streams: RowStreams, vocabulary: Vocabulary) -> Examples:
        """Examples (B, T) of `rows` (B, window), corrupted as `masking` says. Pure: the same streams, the same examples."""

    def shortcoming(self, pool: Examples) -> str | None:
        """The reason why a validation pool cannot be scored, as a predicate of its stage; None if it can."""
        return None if pool.selected.any() else "masks nothing"

    def outputs(self, labels: Labels | None) -> int | None:
        """Outputs O of a head of its own; None for one logit a character."""
        return None

    def features(self, channels: int) -> int | None:
        """Features that such a head reads, standardised, if they are not the C `channels` of the last layer; otherwise None."""
        return None

    def build(self, config: ModelConfig, vocabulary: Vocabulary, labels: Labels | None = None, seed: int = 0) -> Transformer:
        """The network with first weights of `seed`, on the CPU."""
        from masklab.model.transformer import Transformer

        head = {"outputs": self.outputs(labels), "features": self.features(config.n_embd)}
        return Transformer(config, vocabulary.size, vocabulary.extended_size, seed, causal=self.causal, **head)

    @abstractmethod
    def losses(self, model: Transformer, batch: ModeBatch, label_smoothing: float) -> Tensor:
        """The loss (N,) in nats at the counted positions, row by row; float32 whatever the autocast format."""

    def weights(self, model: Transformer, batch: ModeBatch) -> Tensor | None:
        """Class weight of each loss (N,) in training; None where all are 1."""
        return None

    @abstractmethod
    def scores(self, model: Transformer, examples: Examples, batch_size: int, device: torch.device) -> NDArray[np.float64]:
        """Scores (B, K) of each sequence by itself; (0, K) for none. No dropout, no smoothing, no weights.

        It must not depend on `batch_size`, but for rounding.
        """

    @abstractmethod
    def metrics(self, scores: NDArray[np.float64], examples: Examples) -> dict[str, float]:
        """`loss` in nats, and other metrics by name, of the sequences (B,) whose scores are (B, K)."""

    def overall(self, metrics: Mapping[str, float], vocabulary_size: int) -> dict[str, float]:
        """The metrics to report for all pools together, without the loss, from the `metrics` of their sequences."""
        return {name: value for name, value in metrics.items() if name != "loss"}

    def confusion(self, scores: NDArray[np.float64], examples: Examples) -> NDArray[np.int64] | None:
        """Confusion matrix (true class, predicted class) where a sequence has one class; otherwise None."""
        return None

    def describe(self) -> str:
        """The mode and its keys, e.g. `sequence_classifier, pooling mean`."""
        values: dict[str, Any] = self.model_dump()
        name = values.pop("type")
        return ", ".join([name, *(f"{key} {value}" for key, value in values.items() if value is not None)])
