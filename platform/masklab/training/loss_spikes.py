"""What a run makes of steps that were skipped: a pure state machine, with no clock, no device and no input or output.

A step is skipped on the device itself, so nothing waits for it; its figures are read every few steps and told here. `settle` takes
them in order, keeps the losses of the steps that were taken, says when too many were skipped in a row, and sets the limit above which
the losses of the next steps are spikes. A spike lies `spike_sigmas` robust standard deviations above the median of the last losses
(1.4826 times their median absolute deviation; Huber 1981, section 5.1), of the losses themselves and of their logarithms: weights of
one over the mask ratio give losses a long tail, in which what is far out on the plain scale is nothing unusual. The losses of skipped
steps are not among them, so that neither a NaN nor a spike ever moves the limit.

Every rank tells it the same figures and so takes the same decision. All of it lies in a checkpoint, so a resumed run takes the same
path as one that was never interrupted.
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
"""Least robust standard deviation, as a share of the level that the stage began at: a loss near 0 makes any batch look far off."""
LARGEST = 3.4028234663852886e38
"""Largest float32; what is above it, or is no number, is not finite."""
SMALLEST = 1e-12
"""Least loss whose logarithm is taken."""
OVERFLOWS = 40
"""float16 overflows in a row that the scaler is granted: each halves its scale, and it starts at 2**16."""

Cause = Literal["loss", "gradient", "spike"]


class StabilitySettings(Section):
    """Steps whose loss or gradient is not finite, or whose loss is a spike, change no weight. What is done about many in a row."""

    spike_sigmas: float | None = Field(default=20.0, gt=0)
    """A step is skipped if its loss exceeds the median of the last losses by this many robust standard deviations. null disables this."""
    spike_window: int = Field(default=128, ge=8)
    """Number of last losses that median and deviation are computed from. A stage cannot have spikes before it has this many."""
    rollback_after: int = Field(default=10, ge=1)
    """Skipped steps in a row after which the run rolls back to its last good checkpoint and continues with the next batches."""
    max_rollbacks: int = Field(default=3, ge=0)
    """Maximum number of rollbacks. If one more is needed, the run stops with an error."""
    rollback_lr_factor: float = Field(default=1.0, gt=0, le=1)
    """Factor by which each rollback multiplies the learning rate from then on."""

    def check(self, state: SpikeState, iteration: int, words: str) -> None:
        """Raise InstabilityError where the run has gone back as often as it may, and would have to at `iteration`, as `words` tell."""
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
    """One step as the device saw it. `step` and `stage` are the batch's key; the loss is that of all workers together."""

    step: int
    stage: int
    loss: float
    grad_norm: float
    taken: bool
    """Whether the weights were changed."""

    @property
    def cause(self) -> Cause:
        """Why it was skipped."""
        if not math.isfinite(self.loss):
            return "loss"
        return "spike" if math.isfinite(self.grad_norm) else "gradient"

    def to_json(self) -> dict[str, Any]:
        """Plain values; JSON has no literal for what is not finite, so it is written as a word."""
        return {**asdict(self), "loss": _number(self.loss), "grad_norm": _number(self.grad_norm)}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**{**state, "loss": float(state["loss"]), "grad_norm": float(state["grad_norm"])})


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


@dataclass(frozen=True)
class Skip:
    """Steps skipped one after the other, for one cause, in one stage; `words` tell of the first of them."""

    first: int
    last: int
    stage: int
    cause: Cause
    words: str

    @property
    def steps(self) -> int:
        """How many."""
        return self.last - self.first + 1

    @property
    def batches(self) -> str:
        """The keys of their batches in words."""
        one = self.first == self.last
        return f"{'batch' if one else 'batches'} of step{'' if one else 's'} {_span(self.first, self.last)} in stage {self.stage}"


@dataclass(frozen=True)
class Rollback:
    """The run went back to the weights of an earlier iteration, and on with the batches after the one it had come to."""

    iteration: int
    """The iteration it had come to, whose batch is the next."""
    to: int
    """The iteration of the weights it goes on with; 0 for the first weights."""
    words: str
    """Why, with the batches that did it."""
    lr_factor: float
    """Factor of the learning rate from here on."""


@dataclass(frozen=True)
class SpikeState:
    """What a run knows of its steps: with the settings, all that its decisions are a function of, and the path that it has taken."""

    window: tuple[float, ...] = ()
    """Losses of the last steps taken in this stage."""
    level: float = 0.0
    """Highest median of a full window of this stage."""
    limit: float = LARGEST
    """A loss above it is a spike."""
    pending: tuple[StepOutcome, ...] = ()
    """Steps whose figures have been read, and not settled yet."""
    streak: int = 0
    """Steps skipped in a row up to now."""
    overflow_streak: int = 0
    """float16 overflows in a row up to now."""
    good_at: int | None = None
    """Iteration of the checkpoint to go back to; None for the first weights."""
    skips: tuple[Skip, ...] = ()
    rollbacks: tuple[Rollback, ...] = ()
    overflows: int = 0
    """Steps that float16's scaler has skipped to find its scale."""

    @property
    def skipped_steps(self) -> int:
        """Steps skipped so far, but for overflows."""
        return sum(skip.steps for skip in self.skips)

    @property
    def lr_factor(self) -> float:
        """Factor of the learning rate."""
        return self.rollbacks[-1].lr_factor if self.rollbacks else 1.0

    def observe(self, outcomes: Iterable[StepOutcome]) -> SpikeState:
        """The same with outcomes added that `update` will process."""
        return replace(self, pending=(*self.pending, *outcomes))

    def restarted(self) -> SpikeState:
        """The same where another level of the loss is to be expected, as in another stage: nothing is known of it yet."""
        return replace(self, window=(), level=0.0, limit=LARGEST)

    def saved_at(self, iteration: int) -> SpikeState:
        """The same once the weights of `iteration` are saved: they are worth going back to, unless they are skipping steps right now."""
        return self if self.streak else replace(self, good_at=iteration)

    def rolled_back(self, then: SpikeState, rollback: Rollback) -> SpikeState:
        """What is known after `rollback` to weights saved with `then`: the losses of that time, and the whole path."""
        known = replace(then, good_at=self.good_at, skips=self.skips, overflows=self.overflows)
        return replace(known, pending=(), streak=0, overflow_streak=0, rollbacks=(*self.rollbacks, rollback))

    def to_json(self) -> dict[str, Any]:
        """Plain values for `state.json`."""
        return {**asdict(self), "pending": [figures.to_json() for figures in self.pending]}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        made = {
            "window": tuple(state["window"]),
            "pending": tuple(StepOutcome.from_json(each) for each in state["pending"]),
            "skips": tuple(Skip(**each) for each in state["skips"]),
            "rollbacks": tuple(Rollback(**each) for each in state["rollbacks"]),
        }
        return cls(**{**state, **made})


@dataclass(frozen=True)
class Update:
    """The outcome of the figures of some steps."""

    state: SpikeState
    skips: tuple[Skip, ...]
    """What of these steps was skipped."""
    too_many: Skip | None
    """The last of so many steps skipped in a row that the run is to go back."""


def update(state: SpikeState, settings: StabilitySettings, overflows: bool = False) -> Update:
    """Take the pending figures in order. With `overflows` a gradient that is not finite is at first float16's scaler at work."""
    window, limit = list(state.window), state.limit
    skips: list[Skip] = []
    streak, overflow_streak, overflow_count, longest = state.streak, state.overflow_streak, state.overflows, 0
    for figures in state.pending:
        if figures.taken:
            window.append(figures.loss)
            streak = overflow_streak = 0
        elif overflows and figures.cause == "gradient" and overflow_streak < OVERFLOWS:
            overflow_streak, overflow_count = overflow_streak + 1, overflow_count + 1
        else:
            streak += 1
            longest = max(longest, streak)
            _add(skips, Skip(figures.step, figures.step, figures.stage, figures.cause, _words(figures, limit)))
    window = window[-settings.spike_window :]
    level, limit = _limit(window, state.level, settings)
    every = list(state.skips)
    for skip in skips:
        _add(every, skip)
    updated = SpikeState(
        window=tuple(window),
        level=level,
        limit=limit,
        streak=streak,
        overflow_streak=overflow_streak,
        good_at=state.good_at,
        skips=tuple(every),
        rollbacks=state.rollbacks,
        overflows=overflow_count,
    )
    return Update(updated, tuple(skips), every[-1] if longest >= settings.rollback_after else None)


def _add(skips: list[Skip], skip: Skip) -> None:
    """Add one, or join it with the last where it goes on with it."""
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
    """Median, and standard deviation by the median absolute deviation."""
    middle = median(values)
    return middle, NORMAL * median(abs(value - middle) for value in values)


def _words(figures: StepOutcome, limit: float) -> str:
    cause = figures.cause
    if cause == "spike":
        return f"the loss of {figures.loss:.4g} is a spike (above {limit:.4g})"
    return f"the loss is {figures.loss:g}" if cause == "loss" else f"the norm of the gradient is {figures.grad_norm:g}"


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"
