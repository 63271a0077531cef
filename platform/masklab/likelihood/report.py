"""All likelihood estimates of one masked-diffusion model."""

from __future__ import annotations

from dataclasses import dataclass

from masklab.likelihood.continuous_time import continuous_time_nelbo
from masklab.likelihood.estimate import SequenceValues
from masklab.likelihood.importance_weighted import OrderBounds, importance_weighted_bound
from masklab.likelihood.mask_ratio_curve import MaskRatioCurve, even_levels, mask_ratio_curve
from masklab.likelihood.nelbo import exact_count_nelbo
from masklab.likelihood.settings import EvaluationSettings
from masklab.likelihood.windows import ScoredWindows
from masklab.model.transformer import Transformer
from masklab.text.corpus import TokenCorpus


@dataclass(frozen=True, eq=False)
class Likelihood:
    """The NELBO, the bound of the forward process, a tighter bound, and the mask-ratio curve; None where left out."""

    exact_count: SequenceValues
    continuous_time: SequenceValues
    orders: OrderBounds | None
    curve: MaskRatioCurve | None


def likelihood(model: Transformer, corpus: TokenCorpus, block_size: int, settings: EvaluationSettings) -> Likelihood:
    """Score `model` on blocks of T = `block_size` characters of the validation split, in the caller's autocast format.

    A pure function of its arguments, on the device of the model's weights: two models scored with the same settings can be compared
    pair by pair with `difference`. Raises DataError when the split is shorter than one window.
    """
    seed, batch_size = settings.seed, settings.batch_size

    def windows(count: int) -> ScoredWindows:
        return ScoredWindows.of(corpus, block_size, count, settings.context)

    process = windows(settings.process_sequences)
    orders = curve = None
    if settings.order_sequences:
        orders = importance_weighted_bound(model, windows(settings.order_sequences), settings.orders, seed, batch_size)
    if settings.curve_levels:
        curve = mask_ratio_curve(model, windows(settings.curve_sequences), even_levels(settings.curve_levels), seed, batch_size)
    return Likelihood(
        exact_count_nelbo(model, windows(settings.sequences), seed, batch_size),
        continuous_time_nelbo(model, process, settings.schedule, settings.timesteps, seed, batch_size),
        orders,
        curve,
    )
