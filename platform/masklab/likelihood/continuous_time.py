"""The NELBO of the forward process itself, under any noise schedule, in continuous time or in N timesteps.

With p(t) = 1 - alpha_t, write CE(p) for the mean cross-entropy at masked positions when each position is masked with probability p,
independently. The process bounds -log p(x) / T by the sum of three terms:

    1. reconstruction   p(0) CE(p(0))                                        the text from what is still masked at t = 0
    2. diffusion        integral over t in [0, 1] of -dalpha_t CE(p(t))      (MDLM, Sahoo et al. 2024, eq. 10; MD4, Shi et al. 2024, eq. 4)
    3. first jump       (1 - p(1)) CE(1)                                     from fully masked text to level p(1)

Without terms 1 and 3 it would not be a bound unless p(0) = 0 and p(1) = 1. With them only the ends depend on the schedule: between
them the integral is that of CE(p) over p, whatever the pace of the schedule. With N timesteps t_i = i/N the integral is a sum of
(p_i - p_{i-1}) CE(p_i) (Sahoo et al. 2024, eq. 8), and the bound is that of a model that writes in N steps, several characters at
once and independently.

Shapes: N sequences, T positions.
"""

from __future__ import annotations

import numpy as np

from masklab.corruption.bernoulli import bernoulli
from masklab.corruption.noise_schedule import NoiseSchedule
from masklab.likelihood.estimate import Floats, SequenceValues
from masklab.likelihood.windows import Draws, ScoredWindows, score_windows
from masklab.model.transformer import Transformer
from masklab.rng import Stream


def continuous_time_nelbo(
    model: Transformer, windows: ScoredWindows, schedule: NoiseSchedule, timesteps: int | None, seed: int, batch_size: int
) -> SequenceValues:
    """The bound of the process on each of the windows (N,): all three terms, stratified over the windows.

    Its values vary more than those of `exact_count_nelbo`, since the number of masks is random, so models are ranked by the latter. The
    variance is the integral of dalpha_t^2 / (1 - alpha_t), and where p(0) = 0 it diverges as t goes to 0: logarithmically for a
    straight line, but as a power for p = t^a with a < 1, which the settings refuse.
    """
    streams = windows.streams(seed, Draws.CONTINUOUS_TIME)
    u_N = streams.stratified(Stream.LEVEL)
    p_N, elbo_weight_N = levels(schedule, timesteps, u_N)
    masked_NT = bernoulli(streams.stream(Stream.MASK), p_N, windows.block_size)
    scores = score_windows(model, windows, masked_NT, p_N, batch_size)
    return SequenceValues(elbo_weight_N * scores.cross_entropy_sum / windows.block_size, u_N)


def levels(schedule: NoiseSchedule, timesteps: int | None, u_N: Floats) -> tuple[Floats, Floats]:
    """Mask probabilities p (N,) and ELBO weights (N,) of the uniforms `u` (N,) in [0, 1).

    The share p(0) of the uniforms goes to the reconstruction, 1 - p(1) to the first jump and the rest, evenly over t, to the
    diffusion term. The mean over u of `elbo_weight * sum of cross-entropies / T` is then the bound. The weight is rate / p, where the
    rate is -dalpha_t / (p(1) - p(0)), or N (p_i - p_{i-1}) / (p(1) - p(0)), in the diffusion term and 1 at the ends; it is 0 where
    p = 0. A small p(0) leaves the reconstruction few windows with few masks; its error is at most about p(0) CE(p(0)), and with very
    short texts the standard error may not show it.
    """
    p_first, p_last = schedule.value(np.array([0.0, 1.0]))
    share = p_last - p_first
    t = np.clip((u_N - p_first) / share, 0.0, 1.0)
    if timesteps is None:
        p, rate = schedule.value(t), schedule.derivative(t)
    else:
        step = np.minimum(np.floor(t * timesteps) + 1, timesteps)
        p = schedule.value(step / timesteps)
        rate = timesteps * (p - schedule.value((step - 1) / timesteps))
    reconstruction, first_jump = u_N < p_first, u_N >= p_last
    p = np.select([reconstruction, first_jump], [p_first, 1.0], p)
    rate = np.where(reconstruction | first_jump, 1.0, rate / share)
    return p, np.divide(rate, p, out=np.zeros_like(p), where=p > 0)
