"""The replaced-token detector: X = a text in which some characters are replaced, Y = which ones (ELECTRA, Clark et al. 2020).

A stage chooses positions, and shares of them as in any mode: `keep` stays, `random` becomes a uniform character, and `mask`, which is
all unless the stage says otherwise, becomes what `mode.replacement` says, since a detector is shown no masks. A character that comes
out as it was counts as original (their section 2). Every position is counted.

Shapes: B sequences, T positions, N counted positions in the batch, W = T or 2 T characters of a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from masklab.corruption.bernoulli import uniform_integers
from masklab.corruption.masking import Masking
from masklab.modes.examples import Examples
from masklab.modes.generator import fitting, generator_at
from masklab.modes.label_memory import ClassWeights
from masklab.modes.metrics import auroc, balanced_accuracy, calibration_error, constant_loss, log_loss
from masklab.modes.mode import Mode, ModeBatch
from masklab.rng import RowStreams, Stream, fold, uniforms
from masklab.text.labels import Labels
from masklab.text.rows import Rows
from masklab.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from masklab.model.transformer import Transformer

LEAST_SHARE = 1e-4
"""An expected share is taken for no less than this, and no more than 1 minus it, so that no class counts without bound."""
FILLING = 4
"""Part of the replacement stream that masks are filled from; the shares of a stage are drawn from the parts before it."""


class ReplacedTokenDetector(Mode):
    """Tell at each position whether the character is the original one."""

    type: Literal["replaced_token_detector"] = "replaced_token_detector"
    """What the model learns to predict."""
    replacement: Literal["random", "fragments", "generator"] = "random"
    """What replaces masked positions: random characters, pieces of the text that follows, or samples of a mask predictor (generator)."""
    generator_checkpoint: str | None = Field(default=None, min_length=1)
    """Run or checkpoint of the mask predictor, for replacement=generator."""
    generator_digest: str | None = None
    """SHA-256 of the mask predictor's weights. Filled in when the run begins."""
    class_weights: ClassWeights = "balanced"
    """Weight of a position in the loss: 1 (none), or inverse to the frequency of its class under the stage's masks (balanced)."""

    judges: ClassVar[bool] = True

    @model_validator(mode="after")
    def _generator_goes_with_its_replacement(self) -> Self:
        if (self.replacement == "generator") != (self.generator_checkpoint is not None):
            raise ValueError("replacement=generator and generator_checkpoint go together; give both or none")
        return self

    def window(self, block_size: int) -> int:
        """T; where pieces of text are needed, these come from the T characters that follow."""
        return 2 * block_size if self.replacement == "fragments" else block_size

    def examples(self, rows: Rows, masking: Masking, streams: RowStreams, vocabulary: Vocabulary) -> Examples:
        """The rows (B, T) with characters replaced, and 1 where they differ from what they were.

        `noise_level` is the share that the stage replaces on average, whatever the row.
        """
        T = rows.tokens.shape[1] // (2 if self.replacement == "fragments" else 1)
        original = rows.tokens[:, :T]
        selected = masking.draw(streams, T).selected
        inputs = masking.replacement.apply(original, selected, streams, vocabulary)
        inputs = self._filled(inputs, rows.tokens, fold(streams.stream(Stream.REPLACEMENT), FILLING), vocabulary)
        share = np.full(len(rows), self.expected_share(masking, T, vocabulary), np.float32)
        everywhere = np.ones(inputs.shape, bool)
        return Examples(inputs, (inputs != original).astype(inputs.dtype), everywhere, share, np.ones_like(share))

    def _filled(self, inputs: NDArray[Any], text_BW: NDArray[Any], keys: NDArray[np.uint64], vocabulary: Vocabulary) -> NDArray[Any]:
        """`inputs` (B, T) with no mask left."""
        masked = inputs == vocabulary.mask_id
        if self.replacement == "random":
            return np.where(masked, uniform_integers(keys, masked, vocabulary.size).astype(inputs.dtype), inputs)
        if self.replacement == "fragments":
            return np.where(masked, fragments(text_BW[:, inputs.shape[1] :], masked, keys), inputs)
        assert self.generator_checkpoint is not None
        generator = generator_at(self.generator_checkpoint, self.generator_digest)
        return fitting(generator, vocabulary, inputs.shape[1]).fill(inputs, keys)

    def expected_share(self, masking: Masking, block_size: int, vocabulary: Vocabulary) -> float:
        """The share of characters that `masking` replaces on average.

        What fragments and generators put back as it was is not known beforehand, and counts as replaced here.
        """
        shares = masking.replacement
        uniform = shares.random + (shares.mask if self.replacement == "random" else 0.0)
        changed = 1 - shares.keep - uniform / vocabulary.size
        return float(np.clip(masking.expected_ratio(block_size) * changed, LEAST_SHARE, 1 - LEAST_SHARE))

    def shortcoming(self, pool: Examples) -> str | None:
        return None if pool.targets.any() else "replaces nothing"

    def outputs(self, labels: Labels | None) -> int:
        return 2  # original, replaced

    def losses(self, model: Transformer, batch: ModeBatch, label_smoothing: float) -> Tensor:
        import torch.nn.functional as F

        logits_N2 = _logits(model, batch.inputs, batch.positions)
        return F.cross_entropy(logits_N2, batch.targets, reduction="none", label_smoothing=label_smoothing)

    def weights(self, model: Transformer, batch: ModeBatch) -> Tensor | None:
        """Of each position one half over its class's share in the stage, (N,)."""
        if self.class_weights == "none":
            return None
        share_N = batch.noise_level[batch.rows]
        return 0.5 / (batch.targets * share_N + (1 - batch.targets) * (1 - share_N))

    def scores(self, model: Transformer, examples: Examples, batch_size: int, device: torch.device) -> NDArray[np.float64]:
        """The log odds of replaced at each position, (B, T).

        With balanced weights a network learns the odds of evenly many of both; those of the stage's share are put right here, so that
        probabilities mean the same with any weights.
        """
        odds_BT = log_odds(model, examples.inputs, batch_size, device)
        return odds_BT + _prior(examples)[:, None] if self.class_weights == "balanced" else odds_BT

    def metrics(self, scores: NDArray[np.float64], examples: Examples) -> dict[str, float]:
        """Metrics over all positions; a position counts as replaced where that is likelier than the expected share of its stage."""
        replaced_N, odds_N = examples.targets.ravel() > 0, scores.ravel()
        return {
            "loss": log_loss(odds_N, replaced_N),
            "balanced_accuracy": balanced_accuracy((scores > _prior(examples)[:, None]).ravel(), replaced_N),
            "auroc": auroc(odds_N, replaced_N),
            "calibration_error": calibration_error((1 + np.tanh(odds_N / 2)) / 2, replaced_N),
            "replaced_share": float(replaced_N.mean()),
            "constant_loss": constant_loss(replaced_N),
            "constant_balanced_accuracy": 0.5,
        }


def fragments(text_BS: NDArray[Any], where_BT: NDArray[np.bool_], keys: NDArray[np.uint64]) -> NDArray[Any]:
    """(B, T): in each run of `where` a piece of `text` (B, S), S >= T, of its length and from a uniform place; anything elsewhere."""
    T, S = where_BT.shape[1], text_BS.shape[1]
    at = np.arange(T)
    before = np.pad(where_BT, ((0, 0), (1, 0)))[:, :-1]
    after = np.pad(where_BT, ((0, 0), (0, 1)))[:, 1:]
    first = np.maximum.accumulate(np.where(where_BT & ~before, at, 0), axis=1)
    last = np.minimum.accumulate(np.where(where_BT & ~after, at, T - 1)[:, ::-1], axis=1)[:, ::-1]
    u_BT = np.take_along_axis(uniforms(keys, T), first, axis=1)
    places = (u_BT * (S - (last - first))).astype(np.int64) + at - first
    return np.take_along_axis(text_BS, np.where(where_BT, places, 0), axis=1)


def log_odds(model: Transformer, inputs: NDArray[Any], batch_size: int, device: torch.device) -> NDArray[np.float64]:
    """Log odds (B, T) of each character of `inputs` (B, T): the logit of replaced minus that of original."""
    import torch

    from masklab.model.training_mode import evaluation_mode

    out = np.zeros(inputs.shape)
    with evaluation_mode(model):
        for first in range(0, len(inputs), batch_size):
            part = torch.from_numpy(inputs[first : first + batch_size].astype(np.int64)).to(device)
            logits_BT2 = _logits(model, part).cpu().double().numpy()
            out[first : first + batch_size] = logits_BT2[..., 1] - logits_BT2[..., 0]
    return out


def _logits(model: Transformer, inputs_BT: Tensor, positions_N: Tensor | None = None) -> Tensor:
    """Logits of original and replaced, (N, 2) or (B, T, 2) float32. The noise level is 0, since nothing is masked."""
    level_B = inputs_BT.new_zeros(len(inputs_BT), dtype=next(model.parameters()).dtype)
    return model.head(model.hidden(inputs_BT, level_B, positions_N)).float()


def _prior(examples: Examples) -> NDArray[np.float64]:
    """Log odds (B,) of the share that the stage of each row replaces."""
    share = examples.noise_level.astype(np.float64)
    return np.log(share) - np.log1p(-share)
