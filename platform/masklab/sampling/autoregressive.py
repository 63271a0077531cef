"""Ancestral sampling from a causal model: from left to right, each character given all before it.

Shapes: B texts, T positions, X positions that the network sees, V characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from masklab.errors import ConfigError
from masklab.model.attention import KeyValueCache
from masklab.model.training_mode import evaluation_mode
from masklab.sampling.canvas import Draw
from masklab.sampling.decoding import log_softmax
from masklab.sampling.denoiser import Denoiser
from masklab.sampling.sampler import Prediction, ReverseProcess, Sampler


@dataclass
class NextCharacter:
    """Predictions of the model of `network`, whose batch size and counts these are too.

    With `cache`, the keys and values of what was seen are kept, and of a window that has only grown the new positions alone go through
    the network. A window that begins elsewhere has other positions and other context, so nothing is kept of the one before.
    """

    network: Denoiser
    cache: bool = True
    _kept: dict[int, KeyValueCache] = field(init=False, default_factory=dict)
    """By the first row of each batch."""
    _first: int = field(init=False, default=0)

    def logits(self, seen_BX: NDArray[np.int64], first: int) -> NDArray[np.float64]:
        """Float64 logits (B, V) of what follows the characters `seen` (B, X), which begin at position `first` of their texts.

        As long as `first` stays the same, `seen` must begin with what it was before.
        """
        if first != self._first:
            self._kept.clear()
            self._first = first
        with evaluation_mode(self.network.model):
            starts = range(0, len(seen_BX), self.network.batch_size)
            return np.concatenate([self._ask(seen_BX, start) for start in starts])

    def _ask(self, seen_BX: NDArray[np.int64], start: int) -> NDArray[np.float64]:
        network, rows = self.network, slice(start, start + self.network.batch_size)
        cache = self._kept.setdefault(start, KeyValueCache(len(network.model.blocks))) if self.cache else None
        new = seen_BX[rows, cache.length if cache else 0 :]
        count, size = new.shape
        last = torch.arange(1, count + 1, device=network.device) * size - 1
        # not a compiled `hidden`, which would be compiled anew for each length of the cache
        hidden_BC = type(network.model).hidden(
            network.model,
            torch.from_numpy(np.ascontiguousarray(new)).to(network.device),
            torch.zeros(count, device=network.device),
            last,
            cache=cache,
        )
        network.evaluations[rows] += 1
        network.positions[rows] += size
        logits_BV: NDArray[np.float64] = network.model.head(hidden_BC).cpu().double().numpy()
        return logits_BV


class Autoregressive(Sampler):
    """One character at a time, from left to right, by a language model.

    The network sees at most as many characters as it was trained on. Once this window is full it moves on by `stride`, and what is
    left in it is read anew, since its characters then have less context than before; until it is full again, keys and values are
    kept. So each character is written with at least block_size - stride + 1 characters before it, and a long text passes about
    block_size / stride positions through the network for each. A text of which nothing is given begins after a new line that is
    not part of it, or where the vocabulary has none, a blank, or its first character.
    Each position has a random number of its own, so that under one seed a longer text begins as a shorter one does.
    """

    causal: ClassVar[bool] = True
    exceeds_block_size: ClassVar[bool] = True

    strategy: Literal["autoregressive"] = "autoregressive"
    """Name of the sampler."""
    stride: int | None = Field(default=None, ge=1)
    """Characters by which a full window is shifted. If null, half of the model's block_size."""
    cache: bool = True
    """Cache attention keys and values instead of recomputing the window for each character. It does not change the texts."""

    def check(self, block_size: int) -> None:
        if self.stride is not None and self.stride > block_size:
            raise ConfigError(f"sampling.stride={self.stride} is more than the model's block_size={block_size}; give at most that")

    def check_given(self, given_T: NDArray[np.bool_]) -> None:
        begun = int(np.argmin(given_T)) if not given_T.all() else len(given_T)
        if given_T[begun:].any():
            after = begun + int(np.argmax(given_T[begun:]))
            raise ConfigError(
                f"sampling.prompt has a character to be written at position {begun} and a given one at {after}, and a language model "
                "writes only what comes after the given text; give a prompt without gaps, or take a model that fills masks"
            )

    def run(self, process: ReverseProcess) -> Iterator[None]:
        canvas, decoding = process.canvas, process.decoding
        reader = NextCharacter(process.denoiser, self.cache)
        # all texts of a canvas have the same given positions
        given_T = canvas.given[0]
        u_BT = canvas.uniforms(Draw.CHARACTER)
        before = np.full((len(canvas.tokens), 0 if given_T[0] else 1), process.before, np.int64)
        for position in np.flatnonzero(~given_T):
            seen = before.shape[1] + position
            first = self.window_start(int(seen), process.block_size)
            near = canvas.tokens[:, max(0, first - before.shape[1]) : position]
            logits_BV = reader.logits(near if first else np.concatenate((before, near), axis=1), first)
            where_BT = np.zeros(canvas.tokens.shape, bool)
            where_BT[:, position] = True
            nearby_BV = _nearby(process, int(position), logits_BV.shape[1])
            drawn_B = decoding.draw(logits_BV, u_BT[:, position], nearby_BV)
            process.write(Prediction(where_BT, log_softmax(logits_BV), drawn_B), where_BT)
            yield

    def window_start(self, seen: int, block_size: int) -> int:
        """Where the window begins when `seen` characters come before the next one: the least multiple of the stride that fits them."""
        stride = self.stride or max(1, block_size // 2)
        return -(-max(0, seen - block_size) // stride) * stride

    def describe(self) -> str:
        return "autoregressive" if self.stride is None else f"autoregressive, stride {self.stride}"


def _nearby(process: ReverseProcess, position: int, V: int) -> NDArray[np.bool_] | None:
    """Which characters stand within the repetition window before `position`, (B, V)."""
    tokens_BW = process.canvas.tokens[:, max(0, position - process.decoding.repetition_window) : position + 1]
    at_BW = np.zeros(tokens_BW.shape, bool)
    at_BW[:, -1] = True
    return process.decoding.nearby(tokens_BW, at_BW, V)
