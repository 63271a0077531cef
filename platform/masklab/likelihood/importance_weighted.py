"""A tighter bound than the NELBO, by averaging the likelihood itself over several orders of generation.

Shapes: N sequences, K orders, T positions; R = K * T partly revealed copies of one sequence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masklab.likelihood.estimate import Floats, SequenceValues
from masklab.likelihood.scoring import score_windows
from masklab.likelihood.windows import Draws, ScoredWindows
from masklab.model.transformer import Transformer
from masklab.rng import Stream, fold, uniforms


@dataclass(frozen=True)
class OrderBounds:
    """Two bounds from the same sequences and orders: that of K orders together, and the mean of the K taken one by one."""

    importance_weighted: SequenceValues
    any_order: SequenceValues


def importance_weighted_bound(model: Transformer, windows: ScoredWindows, orders: int, seed: int, batch_size: int) -> OrderBounds:
    """Bounds on -log p(x) / T, p(x) being the mean over all orders of the probability that the model writes x in that order.

    -log p(x) <= -E log (1/K sum_k prod_i p(x_{s_k(i)} | x_{s_k(<i)})) for uniform orders s_1 .. s_K, which falls to the truth as K
    grows (Burda et al. 2016, "Importance weighted autoencoders", theorem 1; the any-order likelihood is that of Uria et al.
    2014 and Hoogeboom et al. 2022). It takes K T passes of the network a sequence.
    """
    order_NKT = draw_orders(windows, orders, seed)
    log_p_NK = np.stack([_log_probabilities(model, windows, n, order_NKT[n], batch_size) for n in range(len(windows))])
    together_N = np.logaddexp.reduce(log_p_NK, axis=1) - math.log(orders)
    T = windows.block_size
    return OrderBounds(SequenceValues(-together_N / T), SequenceValues(-log_p_NK.mean(axis=1) / T))


def draw_orders(windows: ScoredWindows, orders: int, seed: int) -> NDArray[np.int64]:
    """Uniform orders (N, K, T) of the scored positions, the first to be revealed first; those of a smaller K are among them."""
    keys_N = windows.streams(seed, Draws.ORDERS).stream(Stream.MASK)
    return np.stack([uniforms(fold(keys_N, k), windows.block_size).argsort(axis=1, kind="stable") for k in range(orders)], axis=1)


def _log_probabilities(model: Transformer, windows: ScoredWindows, n: int, order_KT: NDArray[np.int64], batch_size: int) -> Floats:
    """log p (K,) of window number `n` written in each of the orders: every step of every order is a row of its own."""
    K, T = order_KT.shape
    turn_KT = order_KT.argsort(axis=1)  # when each position is revealed
    step_T1 = np.arange(T)[:, None]
    masked_RT = (turn_KT[:, None] >= step_T1).reshape(K * T, T)
    next_RT = (turn_KT[:, None] == step_T1).reshape(K * T, T)
    copies = ScoredWindows(np.repeat(windows.tokens[n : n + 1], K * T, axis=0), windows.context, windows.mask_id)
    scores = score_windows(model, copies, masked_RT, masked_RT.mean(axis=1), batch_size, next_RT)
    log_p_K: Floats = -scores.cross_entropy_sum.reshape(K, T).sum(axis=1)
    return log_p_K
