"""The reverse process of one text, position by position in plain Python, with the random numbers that its row is given."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from masklab.sampling.canvas import Canvas, Draw


@dataclass(frozen=True)
class Candidate:
    """What can be known of a masked position before a step: the network's distribution, a drawn character, and a number in [0, 1)."""

    position: int
    probabilities: list[float]
    drawn: int
    u: float


Choose = Callable[[int, list[Candidate]], list[Candidate]]
"""Those of the candidates that step number 1, 2, ... writes."""


def written_by(
    model: Any, start: list[int], mask_id: int, seed: int, row: int, choose: Choose, temperature: float
) -> tuple[list[int], list[int]]:
    """The text of row number `row`, and the step that wrote each of its characters, 0 where it was given."""
    text, placed_at, step = list(start), [0] * len(start), 1
    given = np.array([c != mask_id for c in start])
    while mask_id in text:
        canvas = Canvas.of(np.array(start), given, mask_id, seed, row + 1)
        canvas.step = step
        u_character, u_order = canvas.uniforms(Draw.CHARACTER)[row], canvas.uniforms(Draw.ORDER)[row]
        probabilities = network_probabilities(model, text, mask_id)
        candidates = []
        for position, character in enumerate(text):
            if character == mask_id:
                p = probabilities[position]
                drawn = drawn_character(p, float(u_character[position]), temperature)
                candidates.append(Candidate(position, p, drawn, float(u_order[position])))
        for chosen in choose(step, candidates):
            text[chosen.position] = chosen.drawn
            placed_at[chosen.position] = step
        step += 1
    return text, placed_at


def network_probabilities(model: Any, text: list[int], mask_id: int) -> list[list[float]]:
    """The network's distribution of each character."""
    share = torch.tensor([text.count(mask_id) / len(text)])
    with torch.no_grad():
        logits = model.head(model.hidden(torch.tensor([text]), share))[0].tolist()
    exponentials = [[math.exp(z - max(zs)) for z in zs] for zs in logits]
    return [[e / sum(es) for e in es] for es in exponentials]


def drawn_character(probabilities: list[float], u: float, temperature: float) -> int:
    """The character at `u` of the distribution function, at a temperature."""
    if temperature == 0:
        return probabilities.index(max(probabilities))
    sharpened = [p ** (1 / temperature) for p in probabilities]
    cumulative = 0.0
    for character, p in enumerate(sharpened):
        cumulative += p
        if u * sum(sharpened) < cumulative:
            return character
    raise AssertionError(f"u={u} is out of range")
