"""How much of a run's budget is spent: in steps, characters, masked characters or minutes, whichever ends first.

Every rank must see the same share, since the learning rate and the end of the run follow it. So only rank 0 reads the clock: the
ranks agree on its minutes at each log and evaluation, and extrapolate in between at the last pace. Masked characters are counted at
each step, so that runs with different masks end within one step of the same count; several workers sum them at each step.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from masklab.training.ranks import Ranks
from masklab.training.settings import TrainingSettings


@dataclass
class Budget:
    """The budget of one run. `elapsed_before`, `masked` and `pace` are those of the run's earlier, interrupted parts."""

    settings: TrainingSettings
    ranks: Ranks
    elapsed_before: float = 0.0
    masked: int = 0
    """Masked characters over all workers so far; counted only where they are the budget."""
    pace: float = 0.0
    """Seconds per step, over the last steps that were measured."""
    started: float = field(default_factory=time.monotonic)
    _agreed: tuple[int, float] = field(init=False, default=(0, 0.0))

    def elapsed(self) -> float:
        """Seconds of training so far on this rank's own clock."""
        return self.elapsed_before + time.monotonic() - self.started

    def agree(self, iteration: int) -> float:
        """Agree on the seconds elapsed at `iteration`, where all ranks meet. Returns them; the steps since the last call set the pace."""
        before_iteration, before_seconds = self._agreed
        seconds = self.agree_at_first_step(iteration)
        if iteration > before_iteration:
            self.pace = (seconds - before_seconds) / (iteration - before_iteration)
        return seconds

    def agree_at_first_step(self, iteration: int) -> float:
        """The same without setting the pace: a process's first step compiles, so the later ones are faster."""
        seconds = self.ranks.agree(self.elapsed())
        self._agreed = (iteration, seconds)
        return seconds

    def count(self, masked: int) -> None:
        """Count the `masked` characters of this rank's part of a step; all ranks meet here if the budget is in masked characters."""
        if self.settings.max_masked_chars is not None:
            self.masked += round(float(self.ranks.total(np.array([float(masked)]))[0]))

    def used(self, iteration: int) -> float:
        """Share of the budget spent after `iteration` steps, in [0, 1]; the same on every rank."""
        shares = [0.0]
        if self.settings.max_iters is not None:
            shares.append(iteration / self.settings.max_iters)
        if self.settings.max_chars is not None:
            shares.append(iteration * self.settings.chars_per_step / self.settings.max_chars)
        if self.settings.max_masked_chars is not None:
            shares.append(self.masked / self.settings.max_masked_chars)
        if self.settings.max_minutes is not None:
            at, seconds = self._agreed
            shares.append((seconds + self.pace * (iteration - at)) / (60 * self.settings.max_minutes))
        return min(max(shares), 1.0)

    def is_spent(self, iteration: int) -> bool:
        """Whether the budget is spent at `iteration`; the same on every rank. An extrapolated share is checked against the clock first."""
        if self.used(iteration) < 1:
            return False
        if self.settings.max_minutes is not None:
            self.agree(iteration)
        return self.used(iteration) >= 1

    def remaining_seconds(self, iteration: int) -> float:
        """An estimate of the seconds left, from the share used so far."""
        used = self.used(iteration)
        return self.elapsed() * (1 / used - 1) if used > 0 else float("inf")
