"""A search space: keys of the configuration, each with a distribution such as `log(1e-4, 1e-2)`.

log(LOW, HIGH)       a number whose logarithm is uniform
uniform(LOW, HIGH)   a number
int(LOW, HIGH)       a whole number, both ends included
choice(A, B, ...)    one of the values, each written as on the command line; names of files for a group

A point of the space is a value for each key; it is applied to a configuration as overrides.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from masklab.errors import ConfigError, did_you_mean

Value = float | int | str
Point = dict[str, Value]
"""A value for each key."""

CALL = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
KINDS = ("log", "uniform", "int", "choice")
PAIRS = {"(": ")", "[": "]", "{": "}"}

FACTORS = (0.8, 1.2)
"""By which a number is perturbed: down or up."""
CHANGEABLE = ("objective.", "curriculum.", "ramp.")
"""Beginnings of the keys that a population may change in the middle of a run."""
RATES = ("learning_rate", "min_lr", "warmup_iters", "lr_decay_iters", "weight_decay", "beta1", "beta2", "grad_clip")
"""Keys of `training` that it may change."""
UNCHANGEABLE = {
    "curriculum": "the run's stage does not carry over to another curriculum; vary its numbers, as curriculum.stages.1.mask_ratio",
    "curriculum.stages": "the run's stage does not carry over to other stages; vary their numbers, as curriculum.stages.1.mask_ratio",
    "curriculum.ramp.n_stages": "the run's stage does not carry over to another number of stages",
    "ramp.n_stages": "the run's stage does not carry over to another number of stages",
    "curriculum.name": "it does not change the metrics",
    "curriculum.description": "it does not change the metrics",
    "model": "weights cannot be copied to a model of another shape; only model.dropout can vary",
    "training": "all trials of a population see the same batches at the same time; of training only " + ", ".join(RATES) + " can vary",
    "run": "all trials of a population see the same batches",
    "mode": "weights cannot be copied to another head",
    "system": "a run keeps its device and number format",
    "sampling": "it does not change the metric that trials are compared by",
}


@dataclass(frozen=True)
class Uniform:
    """A number between `low` and `high`, uniform itself or, where `log`, by its logarithm."""

    low: float
    high: float
    log: bool = False

    def at(self, share: float) -> float:
        """The value below which a `share` in [0, 1] of the distribution lies."""
        value = self.low * (self.high / self.low) ** share if self.log else self.low + (self.high - self.low) * share
        return self.rounded(value)

    def rounded(self, value: float) -> float:
        """`value` with six digits, clipped to the bounds, so that the printed value is the trained one."""
        return min(max(float(f"{value:.6g}"), self.low), self.high)

    def share(self, value: float) -> float:
        """The inverse of `at`; a half where both ends are one."""
        if self.low == self.high:
            return 0.5
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def grid(self, points: int) -> tuple[Value, ...]:
        """That many values, evenly spaced, both ends included."""
        return tuple(dict.fromkeys(self.at(share) for share in np.linspace(0, 1, points).tolist()))

    @property
    def ends(self) -> tuple[Value, ...]:
        """The extreme values, which are validated before anything is drawn."""
        return tuple(dict.fromkeys((self.low, self.high)))


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`."""

    low: int
    high: int

    def at(self, share: float) -> int:
        return min(self.low + math.floor(share * (self.high - self.low + 1)), self.high)

    def share(self, value: float) -> float:
        """Position of `value` between the bounds in [0, 1]; 0.5 if they are equal."""
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5

    def grid(self, points: int) -> tuple[Value, ...]:
        """All of them, or that many spread evenly where there are more."""
        return tuple(dict.fromkeys(round(value) for value in np.linspace(self.low, self.high, points).tolist()))

    @property
    def ends(self) -> tuple[Value, ...]:
        """The extreme values, which are validated before anything is drawn."""
        return tuple(dict.fromkeys((self.low, self.high)))


@dataclass(frozen=True)
class Choice:
    """One of several values, each in the words of an override."""

    values: tuple[str, ...]

    def at(self, share: float) -> str:
        return self.values[min(math.floor(share * len(self.values)), len(self.values) - 1)]

    def grid(self, points: int) -> tuple[Value, ...]:
        return self.values

    @property
    def ends(self) -> tuple[Value, ...]:
        return self.values


Distribution = Uniform | Whole | Choice
Space = Mapping[str, Distribution]


def distribution(text: str) -> Distribution:
    """The distribution that `text` spells. Raises ConfigError, without the key, for anything else."""
    call = CALL.fullmatch(text)
    if call is None:
        raise ConfigError("is not a distribution; write log(LOW, HIGH), uniform(LOW, HIGH), int(LOW, HIGH) or choice(A, B)")
    kind, arguments = call[1], _arguments(call[2])
    if kind not in KINDS:
        raise ConfigError(f"unknown distribution '{kind}'; there are {', '.join(KINDS)}{did_you_mean(kind, KINDS)}")
    if kind == "choice":
        return _choice(arguments)
    low, high = _bounds(kind, arguments)
    if low > high:
        raise ConfigError(f"low is above high: {low:g} > {high:g}")
    if kind == "log" and low <= 0:
        raise ConfigError(f"low must be above 0 for a logarithm, not {low:g}")
    if kind != "int":
        return Uniform(low, high, log=kind == "log")
    if low % 1 or high % 1:
        raise ConfigError("int needs whole numbers; for others take uniform")
    return Whole(int(low), int(high))


def draw(space: Space, seed: int, number: int) -> Point:
    """Point `number` of a random search: a pure function of the seed and the number, so that a longer search only adds points."""
    shares = np.random.default_rng([seed, number]).random(len(space)).tolist()
    return {key: each.at(share) for (key, each), share in zip(space.items(), shares, strict=True)}


def grid(space: Space, points: int) -> tuple[Point, ...]:
    """All combinations, with `points` values of each number; the last key changes fastest."""
    return tuple(dict(zip(space, values, strict=True)) for values in itertools.product(*(each.grid(points) for each in space.values())))


def corners(space: Space) -> Iterator[Point]:
    """Points that show each end and each choice of every key, the other keys at their first."""
    first: Point = {key: each.ends[0] for key, each in space.items()}
    yield first
    for key, each in space.items():
        for value in each.ends[1:]:
            yield first | {key: value}


def why_fixed(key: str) -> str | None:
    """Why a population cannot change `key` in the middle of a run; None if it can."""
    if key in UNCHANGEABLE:
        return UNCHANGEABLE[key]
    section, _, name = key.partition(".")
    if key == "model.dropout" or key.startswith(CHANGEABLE) or (section == "training" and name in RATES):
        return None
    return UNCHANGEABLE.get(section, "it is fixed when a run begins")


def perturbed(space: Space, point: Point, resample: float, rng: np.random.Generator) -> Point:
    """The explore step of population based training: each value resampled with probability `resample`, else perturbed.

    Jaderberg et al. 2017, Population Based Training of Neural Networks, section 4.1.1.
    """
    return {key: each.at(rng.random()) if rng.random() < resample else moved(each, point[key], rng) for key, each in space.items()}


def moved(each: Distribution, value: Value, rng: np.random.Generator) -> Value:
    """A choice's neighbour, or a number times 0.8 or 1.2, clipped to its distribution; a whole number changes by at least 1."""
    up = bool(rng.random() < 0.5)
    if isinstance(each, Choice):
        place, last = each.values.index(str(value)), len(each.values) - 1
        step = 1 if (up or place == 0) and place < last else -1
        return each.values[max(place + step, 0)]
    number = float(value) * FACTORS[up]
    if isinstance(each, Uniform):
        return each.rounded(number)
    whole = round(number)
    if whole == value:
        whole += 1 if up else -1
    return min(max(whole, each.low), each.high)


def overrides_of(point: Mapping[str, Value]) -> list[str]:
    return [f"{key}={value}" for key, value in point.items()]


def _choice(arguments: list[str]) -> Choice:
    if not any(arguments):
        raise ConfigError("no values to choose from; give at least one, as choice(A, B)")
    if "" in arguments:
        raise ConfigError("an empty value; drop the comma that is too many")
    twice = sorted({value for value in arguments if arguments.count(value) > 1})
    if twice:
        raise ConfigError(f"names {', '.join(twice)} twice; give each value once")
    return Choice(tuple(arguments))


def _bounds(kind: str, arguments: list[str]) -> tuple[float, float]:
    try:
        low, high = (float(argument) for argument in arguments)
    except ValueError:
        raise ConfigError(f"{kind} takes two numbers, as {kind}(1, 8)") from None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"{kind} takes two finite numbers, as {kind}(1, 8)")
    return low, high


def _arguments(text: str) -> list[str]:
    """`text` cut at its commas, but for those within brackets or quotes. Raises ConfigError for a bracket that is never closed."""
    parts, quote = [""], ""
    awaited: list[str] = []
    for letter in text:
        if letter == "," and not awaited and not quote:
            parts.append("")
            continue
        parts[-1] += letter
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in PAIRS:
            awaited.append(PAIRS[letter])
        elif letter in PAIRS.values() and (not awaited or letter != awaited.pop()):
            raise ConfigError(f"unmatched '{letter}'")
    if awaited or quote:
        raise ConfigError(f"'{quote or awaited[-1]}' is missing at the end")
    return [part.strip() for part in parts]
