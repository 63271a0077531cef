"""The classifier of characters by given labels: X = text and padding, Y = the class of each character that has one.

Shapes: B sequences, T positions, C channels, N labelled positions in the batch, O classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from masklab.corruption.masking import Masking
from masklab.errors import ConfigError
from masklab.modes.examples import Examples
from masklab.modes.label_memory import WEIGHTS, ClassWeights, remember_weights
from masklab.modes.metrics import macro_f1
from masklab.modes.mode import Mode, ModeBatch
from masklab.rng import RowStreams
from masklab.text.labels import Labels, Unit
from masklab.text.rows import Rows
from masklab.text.vocabulary import SPECIAL_TOKENS, Vocabulary

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from masklab.model.config import ModelConfig
    from masklab.model.transformer import Transformer

PAD = SPECIAL_TOKENS.index("[PAD]")


class TokenLabeller(Mode):
    """Predict the label of each character."""

    type: Literal["token_labeller"] = "token_labeller"
    """What the model learns to predict."""
    num_classes: int | None = Field(default=None, ge=2)
    """Number of classes that the labels must have. If null, any number."""
    class_weights: ClassWeights = "none"
    """Weight of a character in the loss: 1 (none), or inverse to the frequency of its class, 1 on average (balanced)."""

    @property
    def needs_masks(self) -> bool:
        return False

    @property
    def labels_of(self) -> Unit | None:
        return "tokens"

    def examples(self, rows: Rows, masking: Masking, streams: RowStreams, vocabulary: Vocabulary) -> Examples:
        """The rows (B, T) as they are; the labelled positions are counted."""
        assert rows.labels is not None and rows.labels.ndim == 2, "rows with a label for each character"
        one = np.ones(len(rows), np.float32)
        return Examples(rows.tokens, np.maximum(rows.labels, 0).astype(np.uint16), rows.labels >= 0, np.zeros_like(one), one)

    def outputs(self, labels: Labels | None) -> int:
        """One for each class. Raises ConfigError when there are more or fewer than `num_classes`."""
        assert labels is not None, "rows with labels"
        if self.num_classes not in (None, len(labels.names)):
            raise ConfigError(
                f"mode.num_classes = {self.num_classes}: the labels have {len(labels.names)} classes; leave it out or correct it"
            )
        return len(labels.names)

    def build(self, config: ModelConfig, vocabulary: Vocabulary, labels: Labels | None = None, seed: int = 0) -> Transformer:
        model = super().build(config, vocabulary, labels, seed)
        assert labels is not None
        remember_weights(model, labels, self.class_weights)
        return model

    def losses(self, model: Transformer, batch: ModeBatch, label_smoothing: float) -> Tensor:
        import torch.nn.functional as F

        logits_NO = self._logits(model, batch.inputs, batch.noise_level, batch.positions)
        return F.cross_entropy(logits_NO, batch.targets, reduction="none", label_smoothing=label_smoothing)

    def weights(self, model: Transformer, batch: ModeBatch) -> Tensor | None:
        return None if self.class_weights == "none" else model.get_buffer(WEIGHTS)[batch.targets]

    def _logits(self, model: Transformer, inputs_BT: Tensor, noise_level_B: Tensor, positions_N: Tensor) -> Tensor:
        """Outputs of the head for the characters at `positions`: (N, O) float32."""
        keys_BT = inputs_BT != model.vocabulary_size + PAD
        return model.head(model.hidden(inputs_BT, noise_level_B, positions_N, keys_BT)).float()

    def scores(self, model: Transformer, examples: Examples, batch_size: int, device: torch.device) -> NDArray[np.float64]:
        """Of each text the sum of its losses, then for each class how often it was predicted rightly, predicted, and true: (B, 1 + 3 O)."""
        import torch

        from masklab.model.training_mode import evaluation_mode

        O = len(model.get_buffer(WEIGHTS))  # noqa: E741
        out = np.zeros((len(examples), 1 + 3 * O))
        with evaluation_mode(model):
            for first in range(0, len(examples), batch_size):
                part = examples.at(slice(first, first + batch_size))
                positions_N = np.flatnonzero(part.selected)
                if not len(positions_N):
                    continue
                inputs = torch.from_numpy(part.inputs.astype(np.int64)).to(device)
                noise = torch.from_numpy(part.noise_level.copy()).to(device)
                logits_NO = self._logits(model, inputs, noise, torch.from_numpy(positions_N).to(device)).cpu().double()
                out[first : first + batch_size] = _sums(logits_NO, part, positions_N)
        return out

    def predictions(self, model: Transformer, inputs: NDArray[Any], batch_size: int, device: torch.device) -> NDArray[np.int64]:
        """The likeliest class of each character of the texts `inputs` (B, T): (B, T), -1 at padding."""
        import torch

        from masklab.model.training_mode import evaluation_mode

        out = np.full(inputs.shape, -1, np.int64)
        with evaluation_mode(model):
            for first in range(0, len(inputs), batch_size):
                part = torch.from_numpy(inputs[first : first + batch_size].astype(np.int64)).to(device)
                text_N = (part != model.vocabulary_size + PAD).flatten().nonzero()[:, 0]
                logits_NO = self._logits(model, part, torch.zeros(len(part), device=device), text_N)
                out[first : first + batch_size].reshape(-1)[text_N.cpu().numpy()] = logits_NO.argmax(-1).cpu().numpy()
        return out

    def metrics(self, scores: NDArray[np.float64], examples: Examples) -> dict[str, float]:
        """Mean cross-entropy, accuracy and macro F1 over the labelled characters of all texts together."""
        loss, sums = scores[:, 0].sum(), scores[:, 1:].sum(axis=0)
        hits, predicted, true = sums.reshape(3, -1)
        count = true.sum()
        return {"loss": float(loss / count), "accuracy": float(hits.sum() / count), "macro_f1": macro_f1(hits, predicted, true)}


def _sums(logits_NO: Tensor, part: Examples, positions_N: NDArray[np.int64]) -> NDArray[np.float64]:
    B, O = len(part), logits_NO.shape[1]  # noqa: E741
    rows_N = positions_N // part.inputs.shape[1]
    true_N = part.targets.ravel()[positions_N].astype(np.int64)
    predicted_N = logits_NO.argmax(-1).numpy()
    losses_N = -logits_NO.log_softmax(-1).numpy()[np.arange(len(true_N)), true_N]

    def counts(classes_n: NDArray[np.int64], rows_n: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.bincount(rows_n * O + classes_n, minlength=B * O).reshape(B, O).astype(np.float64)

    right = true_N == predicted_N
    sums = [counts(true_N[right], rows_N[right]), counts(predicted_N, rows_N), counts(true_N, rows_N)]
    return np.concatenate([np.bincount(rows_N, losses_N, minlength=B)[:, None], *sums], axis=1)
