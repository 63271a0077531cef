"""The NELBO: the negative evidence lower bound by which models and curricula are ranked, in nats per character.

The exact likelihood of a model that fills masks cannot be computed, but every such model has this bound, however its masks were drawn
in training. It depends on the model and the text alone: no noise schedule, curriculum or loss weight enters it.

1. Any order. A masked-diffusion model writes a text in a uniformly random order s, each character given those before it:

       -log p(x)  <=  E_s sum_{i=1..T} -log p(x_{s(i)} | x_{s(<i)})

   (Uria et al. 2014, "A deep and tractable density estimator"; Hoogeboom et al. 2022, "Autoregressive diffusion models").
2. By count. With k characters still masked, the next one is equally likely to be any of the k, so the term of a step is the mean
   cross-entropy at the masked positions of a uniform k-subset M, and the sum over steps is T times the mean over k:

       -log p(x) / T  <=  E_{k ~ U{1..T}} E_{M, |M| = k} (1/k) sum_{i in M} -log p(x_i | x outside M)

   (Hoogeboom et al. 2022, eq. 4; Ou et al. 2024 show that it is also the continuous-time bound of absorbing-state diffusion, which
   `continuous_time.py` estimates for any schedule).
3. Exact count, stratified k. Masking each position by itself would leave the number of masks to chance; an exact k removes that
   variance. The k of the N windows are stratified over 1..T (`RowStreams.stratified`): every k occurs about equally often, so that the
   differences between counts add no variance either. With one seed every model gets the same windows and masks, so that two models
   can be compared pair by pair (`estimate.difference`).
4. From nats to bits. `Estimate.bits` divides by log 2: bits per character, which do not depend on the vocabulary.

The estimator is unbiased for every N, and its standard error is that of a stratified mean (`estimate.standard_error`).

Shapes: N sequences or windows, T positions.
"""

from __future__ import annotations

import numpy as np

from masklab.corruption.exact_count import ExactCount
from masklab.likelihood.estimate import Estimate, SequenceValues
from masklab.likelihood.windows import Draws, ScoredWindows, score_windows
from masklab.model.transformer import Transformer
from masklab.modes.character_scores import SequenceScores


def exact_count_nelbo(model: Transformer, windows: ScoredWindows, seed: int, batch_size: int) -> SequenceValues:
    """The NELBO of `model`: values (N,) in nats per character, one for each window, whose mean is the bound.

    `.estimate` of the result has the mean and its standard error, `.estimate.bits` the mean in bits per character. `batch_size` windows
    go through the model at a time; it changes no value but for rounding.
    """
    # 1. masks: k ~ U{1..T}, stratified over the windows, and a uniform k-subset of each window
    draw = ExactCount().draw(windows.streams(seed, Draws.EXACT_COUNT), windows.block_size)
    # 2. cross-entropy at the masked positions, summed over each window: (N,) nats
    scores = score_windows(model, windows, draw.selected, draw.probability, batch_size)
    # 3. mean over the k masked positions: (N,) nats per character
    return mean_at_masks(scores)


def mean_at_masks(scores: SequenceScores) -> SequenceValues:
    """Values (N,) whose mean is the NELBO in nats per character, for `scores` of sequences masked by exact count.

    Each is the sum of the k cross-entropies of a sequence over k. They keep their k, the variable that they are stratified by. Raises
    ValueError if a sequence has no masked position, since k = 0 is not part of the bound.
    """
    if not scores.count.all():
        raise ValueError(f"sequence {int(np.argmin(scores.count))} has no masked position, and an exact count is at least 1")
    return SequenceValues(scores.cross_entropy_sum / scores.count, scores.count)


def nelbo(scores: SequenceScores) -> Estimate:
    """The NELBO and its standard error, for `scores` of sequences masked by exact count, as training evaluates them."""
    return mean_at_masks(scores).estimate
