"""A tighter bound than the NELBO, by averaging the likelihood itself over several orders of generation.

Shapes: N sequences, K orders, P pairs of both, T positions, R = P * T partly revealed copies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masklab.likelihood.estimate import Floats, SequenceValues
from masklab.likelihood.windows import Draws, ScoredWindows, score_windows
from masklab.model.transformer import Transformer
from masklab.rng import Stream, fold, uniforms


@dataclass(frozen=True)
class OrderBounds:
    """Two bounds from the same sequences and orders: importance-weighted over K orders, and the mean of the K single-order bounds."""

    importance_weighted: SequenceValues
    any_order: SequenceValues


def importance_weighted_bound(model: Transformer, windows: ScoredWindows, orders: int, seed: int, batch_size: int) -> OrderBounds:
    """Bounds on -log p(x) / T, p(x) being the mean over all orders of the probability that the model writes x in that order.

    -log p(x) <= -E log (1/K sum_k prod_i p(x_{s_k(i)} | x_{s_k(<i)})) for uniform orders s_1 .. s_K, which tends to the exact value as K
    grows (Burda et al. 2016, "Importance weighted autoencoders", theorem 1; the any-order likelihood is that of Uria et al.
    2014 and Hoogeboom et al. 2022). It takes K T forward passes for each sequence.
    """
    T, P = windows.block_size, len(windows) * orders
    number_P, order_PT = np.repeat(np.arange(len(windows)), orders), draw_orders(windows, orders, seed).reshape(P, T)
    at_once = -(-batch_size // T)
    chunks = [slice(first, first + at_once) for first in range(0, P, at_once)]
    log_p_P = np.concatenate([_log_probabilities(model, windows, number_P[c], order_PT[c], batch_size) for c in chunks])
    log_p_NK = log_p_P.reshape(-1, orders)
    together_N = np.logaddexp.reduce(log_p_NK, axis=1) - math.log(orders)
    return OrderBounds(SequenceValues(-together_N / T), SequenceValues(-log_p_NK.mean(axis=1) / T))


def draw_orders(windows: ScoredWindows, orders: int, seed: int) -> NDArray[np.int64]:
    """Uniform orders (N, K, T) of the scored positions, the first to be revealed first. The orders of a smaller K are a prefix."""
    keys_N = windows.streams(seed, Draws.ORDERS).stream(Stream.MASK)
    return np.stack([uniforms(fold(keys_N, k), windows.block_size).argsort(axis=1, kind="stable") for k in range(orders)], axis=1)


def _log_probabilities(
    model: Transformer, windows: ScoredWindows, number_P: NDArray[np.int64], order_PT: NDArray[np.int64], batch_size: int
) -> Floats:
    """log p (P,) of the windows `number` (P,), each in its order (P, T); every step of an order is a row of the network's batch."""
    P, T = order_PT.shape
    turn_PT = order_PT.argsort(axis=1)  # when each position is revealed
    step_T1 = np.arange(T)[:, None]
    masked_RT = (turn_PT[:, None] >= step_T1).reshape(P * T, T)
    next_RT = (turn_PT[:, None] == step_T1).reshape(P * T, T)
    copies = ScoredWindows(np.repeat(windows.tokens[number_P], T, axis=0), windows.context, windows.mask_id)
    scores = score_windows(model, copies, masked_RT, masked_RT.mean(axis=1), batch_size, next_RT)
    return np.asarray(-scores.cross_entropy_sum.reshape(P, T).sum(axis=1))
