"""How a population explores: values taken over from a better trial are moved a little, or now and then drawn afresh.

Jaderberg et al. 2017, Population Based Training of Neural Networks, section 4.1.1: factors of 0.8 and 1.2, and resampling.
"""

from __future__ import annotations

import numpy as np

from masklab.config.search.search_space import Choice, Distribution, Point, Space, Uniform, Value

FACTORS = (0.8, 1.2)
CHANGEABLE = ("objective.", "curriculum.", "ramp.")
"""What the keys begin with that may change in the middle of a run."""
RATES = ("learning_rate", "min_lr", "warmup_iters", "lr_decay_iters", "weight_decay", "beta1", "beta2", "grad_clip")
"""Keys of `training` that may."""
UNCHANGEABLE = {
    "curriculum": "a run's place in its stages means nothing in another curriculum; vary its numbers, as curriculum.stages.1.mask_ratio",
    "curriculum.stages": "a run's place in its stages means nothing in others; vary their numbers, as curriculum.stages.1.mask_ratio",
    "curriculum.ramp.n_stages": "a run's place in its stages means nothing where there are more of them or fewer",
    "ramp.n_stages": "a run's place in its stages means nothing where there are more of them or fewer",
    "curriculum.name": "it changes no figure",
    "curriculum.description": "it changes no figure",
    "model": "weights of another shape cannot be handed over; of the model only model.dropout can vary",
    "training": "all trials of a population see the same batches at the same time; of training only " + ", ".join(RATES) + " can vary",
    "run": "all trials of a population see the same batches",
    "mode": "weights of another head cannot be handed over",
    "system": "the device and its number format stay what they were when the run began",
    "sampling": "it changes no figure that trials are compared by",
}


def why_fixed(key: str) -> str | None:
    """Why `key` cannot change in the middle of a run; None where it can."""
    if key in UNCHANGEABLE:
        return UNCHANGEABLE[key]
    section, _, name = key.partition(".")
    if key == "model.dropout" or key.startswith(CHANGEABLE) or (section == "training" and name in RATES):
        return None
    return UNCHANGEABLE.get(section, "it is fixed when a run begins")


def perturbed(space: Space, point: Point, resample: float, rng: np.random.Generator) -> Point:
    """`point` with each value moved, or with probability `resample` drawn afresh from its distribution; within it either way."""
    return {key: each.at(rng.random()) if rng.random() < resample else moved(each, point[key], rng) for key, each in space.items()}


def moved(each: Distribution, value: Value, rng: np.random.Generator) -> Value:
    """A choice's neighbour, or a number times 0.8 or 1.2 between the ends of its distribution; a whole number moves by 1 at least."""
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
