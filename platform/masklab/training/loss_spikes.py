"""Detects loss spikes and skipped steps: a pure state machine without clock, device, input or output.

The device itself skips a step, so training does not wait; the outcomes are fetched every few steps and passed to `observe`. `update`
processes them in order: it keeps the losses of the steps taken, reports when too many in a row were skipped, and sets the limit above
which the next losses are spikes. The limit is `spike_sigmas` robust standard deviations above the median of the last losses (1.4826
times their median absolute deviation; Huber 1981, section 5.1), on the plain and on the logarithmic scale, whichever is higher: weights
of 1/p give losses a long tail. Losses of skipped steps are left out, so that neither a NaN nor a spike moves the limit.

Every rank observes the same outcomes and so takes the same decision. The whole state is in the checkpoint, so a resumed run takes the
same path as an uninterrupted one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any, Literal, Self

from pydantic import Field

from masklab.errors import InstabilityError
from masklab.schema import Section

NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
LEAST_SIGMA = 0.1
"""Least robust standard deviation, as a share of `SpikeState.level`: near loss 0 any batch would be an outlier."""
LARGEST = 3.4028234663852886e38
"""Largest finite float32."""
SMALLEST = 1e-12
"""Least argument of a logarithm."""
OVERFLOWS = 40
"""float16 overflows in a row that do not count as skipped: each halves the scale, which starts at 2**16."""

Cause = Literal["loss", "gradient", "spike"]


class StabilitySettings(Section):
    """Steps whose loss or gradient is not finite, or whose loss is a spike, change no weight. What is done about many in a row."""

    spike_sigmas: float | None = Field(default=20.0, gt=0)
    """A step is skipped if its loss exceeds the median of the most recent losses by this many robust standard deviations. null disables
    this."""
    spike_window: int = Field(default=128, ge=8)
    """Number of most recent losses that median and deviation are computed from. Spikes are detected only after a stage has this many
    losses."""
    rollback_after: int = Field(default=10, ge=1)
    """Skipped steps in a row after which the run rolls back to its last good checkpoint and continues with the next batches."""
    max_rollbacks: int = Field(default=3, ge=0)
    """Maximum number of rollbacks. If one more is needed, the run stops with an error."""
    rollback_lr_factor: float = Field(default=1.0, gt=0, le=1)
    """Factor by which each rollback multiplies the learning rate from then on."""

    def check(self, state: SpikeState, iteration: int, words: str) -> None:
        """Raise InstabilityError if a rollback at `iteration`, for the reason `words`, would exceed `max_rollbacks`."""
        times = len(state.rollbacks)
        if times < self.max_rollbacks:
            return
        before = f"and the run has gone back {times} time{'' if times == 1 else 's'} already" if times else "and the run may not go back"
        raise InstabilityError(
            f"training is unstable at iteration {iteration}: {words}; {before} (stability.max_rollbacks={self.max_rollbacks}); lower "
            "training.learning_rate, lengthen training.warmup_iters or use system.dtype=float32, under another run.name, or let this run "
            "go back more often"
        )


@dataclass(frozen=True)
class StepOutcome:
    """The outcome of one step. `step` and `stage` are the batch's key; the loss is over all workers."""

    step: int
    stage: int
    loss: float
    grad_norm: float
    taken: bool
    """Whether the weights were changed."""

    @property
    def cause(self) -> Cause:
        if not math.isfinite(self.loss):
            return "loss"
        return "spike" if math.isfinite(self.grad_norm) else "gradient"

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN and infinity as strings, since JSON has no literal for them."""
        return {**asdict(self), "loss": _number(self.loss), "grad_norm": _number(self.grad_norm)}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        return cls(**{**state, "loss": float(state["loss"]), "grad_norm": float(state["grad_norm"])})


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


@dataclass(frozen=True)
class Skip:
    """Consecutive steps skipped for one cause in one stage; `words` describe the first."""

    first: int
    last: int
    stage: int
    cause: Cause
    words: str

    @property
    def steps(self) -> int:
        return self.last - self.first + 1

    @property
    def batches(self) -> str:
        """E.g. `batches of steps 6 to 14 in stage 0`."""
        if self.first == self.last:
            return f"batch of step {self.first} in stage {self.stage}"
        return f"batches of steps {self.first} to {self.last} in stage {self.stage}"


@dataclass(frozen=True)
class Rollback:
    """The run went back to the weights of an earlier iteration and continued with the next batches."""

    iteration: int
    """The iteration at the rollback, whose batch is the next."""
    to: int
    """The iteration of the restored weights; 0 for the initial ones."""
    words: str
    """The reason, with the batches that caused it."""
    lr_factor: float
    """Factor of the learning rate from here on."""


@dataclass(frozen=True)
class SpikeState:
    """The state of the detector. With the settings, it determines every decision."""

    window: tuple[float, ...] = ()
    """Losses of the last steps taken in this stage."""
    level: float = 0.0
    """Highest median of a full window of this stage."""
    limit: float = LARGEST
    """A loss above it is a spike."""
    pending: tuple[StepOutcome, ...] = ()
    """Outcomes observed since the last update."""
    streak: int = 0
    """Steps skipped in a row so far."""
    overflow_streak: int = 0
    """float16 overflows in a row so far."""
    good_at: int | None = None
    """Iteration of the checkpoint to roll back to; None for the initial weights."""
    skips: tuple[Skip, ...] = ()
    rollbacks: tuple[Rollback, ...] = ()
    overflows: int = 0
    """Steps skipped by float16's loss scaler."""

    @property
    def skipped_steps(self) -> int:
        """Steps skipped so far, without overflows."""
        return sum(skip.steps for skip in self.skips)

    @property
    def lr_factor(self) -> float:
        return self.rollbacks[-1].lr_factor if self.rollbacks else 1.0

    def observe(self, outcomes: Iterable[StepOutcome]) -> SpikeState:
        """The same with outcomes added that `update` will process."""
        return replace(self, pending=(*self.pending, *outcomes))

    def restarted(self) -> SpikeState:
        """The same without the losses, for another stage or unfrozen weights, whose losses have another level."""
        return replace(self, window=(), level=0.0, limit=LARGEST)

    def saved_at(self, iteration: int) -> SpikeState:
        """The same once the weights of `iteration` are saved. They are good to roll back to, unless the last step was skipped."""
        return self if self.streak else replace(self, good_at=iteration)

    def rolled_back(self, then: SpikeState, rollback: Rollback) -> SpikeState:
        """The state after `rollback` to weights saved with state `then`: its losses, and all skips and rollbacks so far."""
        known = replace(then, good_at=self.good_at, skips=self.skips, overflows=self.overflows)
        return replace(known, pending=(), streak=0, overflow_streak=0, rollbacks=(*self.rollbacks, rollback))

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "pending": [outcome.to_json() for outcome in self.pending]}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        made = {
            "window": tuple(state["window"]),
            "pending": tuple(StepOutcome.from_json(each) for each in state["pending"]),
            "skips": tuple(Skip(**each) for each in state["skips"]),
            "rollbacks": tuple(Rollback(**each) for each in state["rollbacks"]),
        }
        return cls(**{**state, **made})


@dataclass(frozen=True)
class Update:
    """The new state and the decisions."""

    state: SpikeState
    skips: tuple[Skip, ...]
    """The skips among the processed steps."""
    too_many: Skip | None
    """The last skip, if so many steps in a row were skipped that the run must roll back."""


def update(state: SpikeState, settings: StabilitySettings, overflows: bool = False) -> Update:
    """Process the pending outcomes in order. With `overflows`, the first OVERFLOWS non-finite gradients in a row are the loss scaler's."""
    window, limit = list(state.window), state.limit
    skips: list[Skip] = []
    streak, overflow_streak, overflow_count, longest = state.streak, state.overflow_streak, state.overflows, 0
    for outcome in state.pending:
        if outcome.taken:
            window.append(outcome.loss)
            streak = overflow_streak = 0
        elif overflows and outcome.cause == "gradient" and overflow_streak < OVERFLOWS:
            overflow_streak, overflow_count = overflow_streak + 1, overflow_count + 1
        else:
            streak += 1
            longest = max(longest, streak)
            _add(skips, Skip(outcome.step, outcome.step, outcome.stage, outcome.cause, _words(outcome, limit)))
    window = window[-settings.spike_window :]
    level, limit = _limit(window, state.level, settings)
    every = list(state.skips)
    for skip in skips:
        _add(every, skip)
    updated = replace(
        state,
        window=tuple(window),
        level=level,
        limit=limit,
        pending=(),
        streak=streak,
        overflow_streak=overflow_streak,
        skips=tuple(every),
        overflows=overflow_count,
    )
    return Update(updated, tuple(skips), every[-1] if longest >= settings.rollback_after else None)


def _add(skips: list[Skip], skip: Skip) -> None:
    last = skips[-1] if skips else None
    if last and (last.last + 1, last.stage, last.cause) == (skip.first, skip.stage, skip.cause):
        skips[-1] = replace(last, last=skip.last)
    else:
        skips.append(skip)


def _limit(window: list[float], level: float, settings: StabilitySettings) -> tuple[float, float]:
    """The level of the stage and the limit of its losses, once the window is full."""
    if settings.spike_sigmas is None or len(window) < settings.spike_window:
        return level, LARGEST
    middle, sigma = _robust(window)
    level = max(level, middle)
    plain = middle + settings.spike_sigmas * max(sigma, LEAST_SIGMA * level)
    middle, sigma = _robust([math.log(max(loss, SMALLEST)) for loss in window])
    logarithmic = math.exp(min(middle + settings.spike_sigmas * sigma, math.log(LARGEST)))
    return level, min(max(plain, logarithmic), LARGEST)


def _robust(values: list[float]) -> tuple[float, float]:
    middle = median(values)
    return middle, NORMAL * median(abs(value - middle) for value in values)


def _words(outcome: StepOutcome, limit: float) -> str:
    cause = outcome.cause
    if cause == "spike":
        return f"the loss of {outcome.loss:.4g} is a spike (above {limit:.4g})"
    return f"the loss is {outcome.loss:g}" if cause == "loss" else f"the norm of the gradient is {outcome.grad_norm:g}"
