"""The classifier of whole texts: X = [CLS], text and padding, Y = one class or one number.

The number may also be the share of a text that was masked and filled in by a mask predictor: then the texts are plain, the stages of
the curriculum mask them, and the network predicts how much of the text is not original.

Padding is attended to by nothing and pooled into nothing, so that it never changes the prediction for a text. A number is predicted on
the scale of the training labels, with mean 0 and deviation 1, and reported in their own unit.

Shapes: B sequences, T positions, C channels, O outputs (classes, or 1 for a number).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from masklab.corruption.masking import Masking
from masklab.modes.examples import Examples
from masklab.modes.generator import fitting, generator_at
from masklab.modes.label_memory import SCALE, WEIGHTS, ClassWeights, remember_scale, remember_weights
from masklab.modes.metrics import class_counts, confusion, macro_f1, r_squared, rmse
from masklab.modes.mode import Mode, ModeBatch
from masklab.modes.replaced_token_detector import FILLING
from masklab.rng import RowStreams, Stream, fold
from masklab.text.labels import Labels, Unit
from masklab.text.rows import Rows
from masklab.text.vocabulary import SPECIAL_TOKENS, Vocabulary

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from masklab.model.config import ModelConfig
    from masklab.model.transformer import Transformer

PAD, CLS = SPECIAL_TOKENS.index("[PAD]"), SPECIAL_TOKENS.index("[CLS]")
MOST_CONFUSED = 256
"""Classes up to which a matrix of their confusions is made: its size is their square, and labels may have 65,536."""
SMALLEST_VARIANCE = 1e-6
"""Keeps the root of the variance of a text of one character from having an infinite slope."""
SHARES = Labels(mean=0.5, deviation=12**-0.5)
"""Shares, on the scale of the uniform distribution."""


class SequenceClassifier(Mode):
    """Predict the label of a whole text."""

    type: Literal["sequence_classifier"] = "sequence_classifier"
    """What the model learns to predict."""
    pooling: Literal["cls", "mean", "statistics"] = "statistics"
    """How a text becomes one vector: the features at [CLS] (cls), their mean over the characters (mean), or mean and standard deviation
    (statistics; Snyder et al. 2018). `statistics` vectors are standardised, because a head on frozen weights
    needs that."""
    class_weights: ClassWeights = "none"
    """Weight of a row in the loss: 1 (none), or inverse to the frequency of its class, 1 on average (balanced)."""

    target: Literal["label", "masked_ratio"] = "label"
    """What is predicted: the label of a text, or the share of its characters that a mask predictor wrote (masked_ratio)."""
    generator_checkpoint: str | None = Field(default=None, min_length=1)
    """Run or checkpoint of the mask predictor, for target=masked_ratio."""
    generator_digest: str | None = None
    """SHA-256 of the mask predictor's weights. Filled in when the run begins."""

    @model_validator(mode="after")
    def _generator_goes_with_its_target(self) -> Self:
        if (self.target == "masked_ratio") != (self.generator_checkpoint is not None):
            raise ValueError("target=masked_ratio and generator_checkpoint go together; give both or none")
        if self.target == "masked_ratio" and self.class_weights != "none":
            raise ValueError(f"class_weights={self.class_weights}: target=masked_ratio has no classes; leave it out")
        return self

    @property
    def needs_masks(self) -> bool:
        return self.target == "masked_ratio"

    @property
    def labels_of(self) -> Unit | None:
        return "rows" if self.target == "label" else None

    def window(self, block_size: int) -> int:
        """T; of plain text one less, for [CLS]."""
        return block_size if self.target == "label" else block_size - 1

    def examples(self, rows: Rows, masking: Masking, streams: RowStreams, vocabulary: Vocabulary) -> Examples:
        """The texts (B, T), of which the position of [CLS], the first, is counted and has the label.

        `noise_level` is 0, since it would give away the share of masks.
        """
        if self.target == "masked_ratio":
            rows = self._filled(rows, masking, streams, vocabulary)
        assert rows.labels is not None and rows.labels.ndim == 1, "rows with a label each"
        number = rows.labels.dtype.kind == "f"
        targets = np.zeros(rows.tokens.shape, np.float32 if number else np.uint16)
        targets[:, 0] = rows.labels
        selected = np.zeros(rows.tokens.shape, bool)
        selected[:, 0] = True
        one = np.ones(len(rows), np.float32)
        return Examples(rows.tokens, targets, selected, np.zeros_like(one), one)

    def _filled(self, rows: Rows, masking: Masking, streams: RowStreams, vocabulary: Vocabulary) -> Rows:
        """Plain `rows` (B, T - 1) behind [CLS], with the masks of a stage filled in by the generator, and the share of masks as label."""
        assert self.generator_checkpoint is not None
        T = rows.tokens.shape[1]
        inputs = masking.replacement.apply(rows.tokens, masking.draw(streams, T).selected, streams, vocabulary)
        generator = fitting(generator_at(self.generator_checkpoint, self.generator_digest), vocabulary, T)
        filled = generator.fill(inputs, fold(streams.stream(Stream.REPLACEMENT), FILLING))
        first = np.full((len(rows), 1), vocabulary.cls_id, filled.dtype)
        return Rows(np.concatenate([first, filled], axis=1), (inputs == vocabulary.mask_id).mean(axis=1).astype(np.float32))

    def features(self, channels: int) -> int | None:
        return 2 * channels if self.pooling == "statistics" else None

    def meaning(self, labels: Labels | None) -> Labels:
        """What the outputs mean: the `labels` of the rows, or shares between 0 and 1."""
        if self.target == "masked_ratio":
            return SHARES
        assert labels is not None, "rows with labels"
        return labels

    def outputs(self, labels: Labels | None) -> int:
        labels = self.meaning(labels)
        return 1 if labels.is_number else len(labels.names)

    def build(self, config: ModelConfig, vocabulary: Vocabulary, labels: Labels | None = None, seed: int = 0) -> Transformer:
        model = super().build(config, vocabulary, labels, seed)
        labels = self.meaning(labels)
        if labels.is_number:
            remember_scale(model, labels)
        else:
            remember_weights(model, labels, self.class_weights)
        return model

    def losses(self, model: Transformer, batch: ModeBatch, label_smoothing: float) -> Tensor:
        """Cross-entropy (B,) in nats; or the squared error of a number, in deviations of the labels."""
        import torch.nn.functional as F

        logits_BO = self._logits(model, batch.inputs, batch.noise_level)
        if batch.targets.is_floating_point():
            mean, deviation = model.get_buffer(SCALE)
            standard_B = (batch.targets - mean) / deviation
            return F.mse_loss(logits_BO[:, 0], standard_B, reduction="none")
        return F.cross_entropy(logits_BO, batch.targets, reduction="none", label_smoothing=label_smoothing)

    def weights(self, model: Transformer, batch: ModeBatch) -> Tensor | None:
        return None if self.class_weights == "none" else model.get_buffer(WEIGHTS)[batch.targets]

    def _logits(self, model: Transformer, inputs_BT: Tensor, noise_level_B: Tensor) -> Tensor:
        """Outputs of the head for each text: (B, O) float32."""
        import torch

        keys_BT = inputs_BT != model.vocabulary_size + PAD
        if self.pooling == "cls":
            first_B = torch.arange(0, inputs_BT.numel(), inputs_BT.shape[1], device=inputs_BT.device)
            return model.head(model.hidden(inputs_BT, noise_level_B, first_B, keys_BT)).float()
        text_BT1 = (keys_BT & (inputs_BT != model.vocabulary_size + CLS))[..., None]
        hidden_BTC = model.hidden(inputs_BT, noise_level_B, None, keys_BT)
        count_B1 = text_BT1.sum(1).clamp(min=1)
        mean_BC = (hidden_BTC * text_BT1).sum(1) / count_B1
        if self.pooling == "mean":
            return model.head(mean_BC).float()
        variance_BC = ((hidden_BTC - mean_BC[:, None]).square() * text_BT1).sum(1) / count_B1
        deviation_BC = (variance_BC + SMALLEST_VARIANCE).sqrt()
        return model.head(torch.cat([mean_BC, deviation_BC], dim=1)).float()

    def scores(self, model: Transformer, examples: Examples, batch_size: int, device: torch.device) -> NDArray[np.float64]:
        """Of each text its loss, and the class or number that is predicted for it: (B, 2)."""
        said_BO = self._said(model, examples.inputs, batch_size, device)
        true_B = examples.targets[:, 0]
        if true_B.dtype.kind == "f":
            deviation = float(model.get_buffer(SCALE)[1])
            return np.stack([((said_BO[:, 0] - true_B) / deviation) ** 2, said_BO[:, 0]], axis=1)
        return np.stack([-said_BO[np.arange(len(true_B)), true_B], said_BO.argmax(axis=1)], axis=1)

    def predictions(self, model: Transformer, inputs: NDArray[Any], batch_size: int, device: torch.device) -> NDArray[np.float64]:
        """For each of the texts `inputs` (B, T) the probability of each class (B, O), or the number (B, 1)."""
        said_BO = self._said(model, inputs, batch_size, device)
        return np.exp(said_BO) if hasattr(model, WEIGHTS) else said_BO

    def _said(self, model: Transformer, inputs: NDArray[Any], batch_size: int, device: torch.device) -> NDArray[np.float64]:
        """Logarithms of the classes' probabilities (B, O), or the number in its own unit (B, 1)."""
        import torch

        from masklab.model.training_mode import evaluation_mode

        said = []
        with evaluation_mode(model):
            for first in range(0, len(inputs), batch_size):
                part = torch.from_numpy(inputs[first : first + batch_size].astype(np.int64)).to(device)
                logits_BO = self._logits(model, part, torch.zeros(len(part), device=device)).cpu().double()
                if hasattr(model, WEIGHTS):
                    said.append(logits_BO.log_softmax(-1).numpy())
                else:
                    mean, deviation = model.get_buffer(SCALE).tolist()
                    said.append(logits_BO.numpy() * deviation + mean)
        return np.concatenate(said) if said else np.zeros((0, 2))

    def metrics(self, scores: NDArray[np.float64], examples: Examples) -> dict[str, float]:
        """Accuracy and macro F1 of classes, beside the cross-entropy; RMSE and R squared of numbers, beside the squared error."""
        loss, predicted = scores.T
        true = examples.targets[:, 0]
        if true.dtype.kind == "f":
            return {"loss": float(loss.mean()), "rmse": rmse(true, predicted), "r_squared": r_squared(true, predicted)}
        counts = class_counts(true.astype(np.int64), predicted.astype(np.int64))
        return {"loss": float(loss.mean()), "accuracy": float(counts[0].sum() / len(true)), "macro_f1": macro_f1(*counts)}

    def confusion(self, scores: NDArray[np.float64], examples: Examples) -> NDArray[np.int64] | None:
        """Confusion matrix (true class, predicted class), up to the last class that occurs.

        None for numbers, and for more than `MOST_CONFUSED` classes.
        """
        if examples.targets.dtype.kind == "f":
            return None
        true, predicted = examples.targets[:, 0].astype(np.int64), scores[:, 1].astype(np.int64)
        classes = 1 + int(max(true.max(), predicted.max()))
        return confusion(true, predicted, classes) if classes <= MOST_CONFUSED else None
