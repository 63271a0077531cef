"""The bound of the forward process itself, under any noise schedule, in continuous time or in N timesteps.

Write CE(p) for the mean cross-entropy at masked positions when each position is masked with probability p by itself. A process that
runs through the levels p(0) .. p(1) bounds -log p(x) / T by

    p(0) CE(p(0))  +  integral over t in [0, 1] of p'(t) CE(p(t))  +  (1 - p(1)) CE(1),

the reconstruction of what is still masked at t = 0, the diffusion term (Sahoo et al. 2024, "MDLM", eq. 10; Shi et al. 2024, "MD4",
eq. 4) and the first jump, from fully masked text to level p(1). Without the two ends it would be no bound unless p(0) = 0 and p(1) = 1;
with them only the ends depend on the schedule: between 0 and 1 the integral is that of CE(p) over p, whatever its pace.
N timesteps t_i = i/N make a sum of the integral, of (p_i - p_{i-1}) CE(p_i) (Sahoo et al. 2024, eq. 8). What is bounded then is the
likelihood of the model that writes in N steps, several characters at once and independently.

Shapes: N sequences, T positions.
"""

from __future__ import annotations

import numpy as np

from masklab.corruption.bernoulli import bernoulli
from masklab.corruption.noise_schedule import NoiseSchedule
from masklab.likelihood.estimate import Floats, SequenceValues
from masklab.likelihood.scoring import score_windows
from masklab.likelihood.windows import Draws, ScoredWindows
from masklab.model.transformer import Transformer
from masklab.rng import Stream


def continuous_time_nelbo(
    model: Transformer, windows: ScoredWindows, schedule: NoiseSchedule, timesteps: int | None, seed: int, batch_size: int
) -> SequenceValues:
    """The bound of the process on each of the windows (N,): all three terms, stratified over the windows.

    Its values vary more than those of an exact count, since the number of masks is left to chance, so rank by the exact count. Their
    variance is the integral of p'(t)^2 / p(t), and where p(0) = 0 it grows without limit as t nears 0: like a logarithm for a straight
    line, but like a power for p = t^a with a < 1, which the settings refuse.
    """
    streams = windows.streams(seed, Draws.CONTINUOUS_TIME)
    u_N = streams.stratified(Stream.LEVEL)
    p_N, weight_N = levels(schedule, timesteps, u_N)
    masked_NT = bernoulli(streams.stream(Stream.MASK), p_N, windows.block_size)
    scores = score_windows(model, windows, masked_NT, p_N, batch_size)
    return SequenceValues(weight_N * scores.cross_entropy_sum / windows.block_size, u_N)


def levels(schedule: NoiseSchedule, timesteps: int | None, u_N: Floats) -> tuple[Floats, Floats]:
    """Mask probabilities p (N,) and weights (N,) of the uniforms `u` (N,) in [0, 1).

    The share p(0) of the uniforms goes to the reconstruction, 1 - p(1) to the first jump and the rest, evenly over t, to the
    diffusion term. The mean over u of `weight * sum of cross-entropies / T` is then the bound: a share's weight is 1/p, times
    p'(t) / (p(1) - p(0)) or N (p_i - p_{i-1}) / (p(1) - p(0)) in the diffusion term, and 0 where p = 0 and nothing is masked. A small
    p(0) leaves the reconstruction few windows, with few masks; its error is at most about p(0) CE(p(0)), and with very short texts the
    standard error may miss it.
    """
    p_first, p_last = schedule.value(np.array([0.0, 1.0]))
    share = p_last - p_first
    t = np.clip((u_N - p_first) / share, 0.0, 1.0)
    if timesteps is None:
        p, slope = schedule.value(t), schedule.derivative(t)
    else:
        step = np.minimum(np.floor(t * timesteps) + 1, timesteps)
        p = schedule.value(step / timesteps)
        slope = timesteps * (p - schedule.value((step - 1) / timesteps))
    reconstruction, first_jump = u_N < p_first, u_N >= p_last
    p = np.select([reconstruction, first_jump], [p_first, 1.0], p)
    slope = np.where(reconstruction | first_jump, 1.0, slope / share)
    return p, np.divide(slope, p, out=np.zeros_like(p), where=p > 0)
