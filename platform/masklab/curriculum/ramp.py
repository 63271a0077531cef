"""A ramp: a curriculum of a few numbers, for a search over schedules."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from masklab.curriculum.controls import TAIL, UNIFORM
from masklab.curriculum.curriculum import Curriculum
from masklab.curriculum.stage import Stage
from masklab.schema import Section

LONGEST = 8.0
"""How many times longer than by chance the masked runs are at full stickiness."""


class Ramp(Section):
    """Mask ratios from `start` to `end`, up or down, in stages of equal shares, then uniform diffusion.

    Masks are those of `run_length`, the strategy that sets clustering apart from the ratio. At ratio r runs have 1 / (1 - r)
    characters by chance, and a ramp of stickiness s has runs 8^s times as long at every ratio: scattered masks at 0.
    """

    n_stages: int = Field(default=4, ge=2, le=64)
    """Number of stages of the ramp, without the uniform tail."""
    start: float = Field(default=0.15, gt=0, lt=1)
    """Mask ratio of the first stage."""
    end: float = Field(default=0.9, gt=0, lt=1)
    """Mask ratio of the last stage of the ramp; below start, the ramp descends."""
    shape: Literal["linear", "geometric", "cosine"] = "linear"
    """Steps of the mask ratio: equal (linear), equal factors (geometric), or small at both ends (cosine)."""
    exponent: float = Field(default=1.0, gt=0, le=10)
    """Exponent of the ramp's progress: above 1 it spends more time near its start, below 1 near its end."""
    stickiness: float = Field(default=0.0, ge=0, le=1)
    """How strongly masks cluster: 0 for independent positions, 1 for runs eight times as long as by chance."""
    uniform_tail: float = Field(default=TAIL, ge=0, lt=1)
    """Share of the budget for a final stage of uniform diffusion, which trains every mask ratio. 0 for none."""

    @property
    def ratios(self) -> tuple[float, ...]:
        """The mask ratio of each stage."""
        ways = [(stage / (self.n_stages - 1)) ** self.exponent for stage in range(self.n_stages)]
        return tuple(round(self._ratio(way), 6) for way in ways)

    def _ratio(self, way: float) -> float:
        if self.shape == "geometric":
            return float(self.start * (self.end / self.start) ** way)
        if self.shape == "cosine":
            way = (1 - math.cos(math.pi * way)) / 2
        return self.start + (self.end - self.start) * way

    def mean_run(self, ratio: float) -> float:
        """Mean length of the masked runs at `ratio`, in characters."""
        return round(float(LONGEST**self.stickiness) / (1 - ratio), 6)

    def curriculum(self, name: str = "ramp") -> Curriculum:
        """The ramp as stages, all but the last of which end at their share of the budget."""
        stages = [
            Stage.model_validate({"type": "run_length", "mask_ratio": ratio, "mean_run": self.mean_run(ratio)}) for ratio in self.ratios
        ]
        stages += UNIFORM.stages if self.uniform_tail else ()
        share = round((1 - self.uniform_tail) / self.n_stages, 6)
        limited = (stage.model_copy(update={"max_share": share}) for stage in stages[:-1])
        return Curriculum(name=name, description=self.describe(), stages=(*limited, stages[-1]))

    def describe(self) -> str:
        masks = f"masks in runs {LONGEST**self.stickiness:.2g} times as long as by chance" if self.stickiness else "scattered masks"
        bent = "" if self.exponent == 1 else f" with exponent {self.exponent:g}"
        tail = f", then uniform diffusion for {100 * self.uniform_tail:g} % of the budget" if self.uniform_tail else ""
        ends = f"from {100 * self.start:g} % to {100 * self.end:g} %"
        return f"A {self.shape} ramp{bent} {ends} in {self.n_stages} stages of {masks}{tail}."
