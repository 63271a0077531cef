"""A probability as a field of the configuration."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def _from_zero_to_one(value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"a probability lies between 0 and 1, and {value:g} does not")
    return value


Probability = Annotated[float, AfterValidator(_from_zero_to_one)]
