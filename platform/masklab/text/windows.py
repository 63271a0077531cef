"""Windows of a split: which T characters a training row reads, as a pure function of the seed and the row's running number.

Shapes: N tokens of the split, B rows, T positions of a window, W windows of an epoch, S starts of paragraphs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from masklab.errors import DataError
from masklab.rng import fold, keys_of, permutation, root_key, uniforms
from masklab.text.vocabulary import Vocabulary

Placement = Literal["anywhere", "paragraphs", "epochs"]

WINDOWS = 2_000_000
"""Number under which windows are keyed, apart from every stage and every validation pool."""
ORDER, OFFSET = 0, 1
EPOCHS_KEPT = 4
"""Orders remembered: a batch reads one epoch, or two at its edge, and several sources may share a process."""


@dataclass(frozen=True, eq=False)
class Windows:
    """How windows of `block_size` tokens are cut from the training split `tokens` (N,)."""

    tokens: NDArray[Any]
    block_size: int
    placement: Placement
    vocabulary: Vocabulary

    def __post_init__(self) -> None:
        require_block(self.tokens, self.block_size, "training")
        if self.placement == "paragraphs":
            self._paragraphs  # noqa: B018

    @property
    def count(self) -> int:
        """W, the windows of one epoch: they never overlap, and fit whatever their offset, below T, may be."""
        return max(1, (len(self.tokens) - self.block_size + 1) // self.block_size)

    def take(self, seed: int, samples: NDArray[np.int64]) -> NDArray[Any]:
        """The tokens (B, T) that the rows number `samples` (B,) of a run with this `seed` read."""
        windows = sliding_window_view(self.tokens, self.block_size)  # (N - T + 1, T), no copy
        rows: NDArray[Any] = windows[self.starts(seed, np.asarray(samples, np.int64))]
        return rows

    def starts(self, seed: int, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the windows of the rows `samples` (B,) begin: (B,), each in 0..N-T."""
        match self.placement:
            case "anywhere":
                return _drawn(seed, samples, len(self.tokens) - self.block_size + 1)
            case "paragraphs":
                return self._paragraphs[_drawn(seed, samples, len(self._paragraphs))]
            case "epochs":
                return self._epoch_starts(seed, samples)

    def _epoch_starts(self, seed: int, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        epochs, places = np.divmod(samples, self.count)
        slack = min(self.block_size - 1, len(self.tokens) - self.count * self.block_size)
        starts = np.empty_like(samples)
        for epoch in np.unique(epochs):
            mine = epochs == epoch
            order, offset = _epoch(seed, int(epoch), self.count)
            starts[mine] = order[places[mine]] * self.block_size + int(offset * (slack + 1))
        return starts

    @cached_property
    def _paragraphs(self) -> NDArray[np.int64]:
        """Starts (S,) of the paragraphs that leave room for a window; the text's own start is one."""
        last = len(self.tokens) - self.block_size
        starts = paragraph_starts(self.tokens, self.vocabulary)
        starts = starts[starts <= last]
        if len(starts) == 1 and last > 0:
            raise DataError(
                f"dataset.windows=paragraphs: no paragraph of the training split but its first leaves room for a block of "
                f"{self.block_size} characters (paragraphs begin after a blank line); use dataset.windows=anywhere"
            )
        return starts


def paragraph_starts(tokens: NDArray[Any], vocabulary: Vocabulary) -> NDArray[np.int64]:
    """Position 0, and every position right after a blank line (or several), in order. A line may end in LF or CR LF."""
    if "\n" not in vocabulary.characters:
        return np.zeros(1, np.int64)
    ends = np.flatnonzero(tokens == vocabulary.characters.index("\n"))  # position of each line's LF
    lengths = np.diff(ends, prepend=-1) - 1
    if "\r" in vocabulary.characters:
        returns = tokens[np.maximum(ends - 1, 0)] == vocabulary.characters.index("\r")
        lengths -= returns & (lengths > 0)
    blank = lengths == 0
    last_of_several = blank & ~np.append(blank[1:], False)
    starts = ends[last_of_several] + 1
    return np.unique(np.concatenate([[0], starts[starts < len(tokens)]])).astype(np.int64)


def evenly_spaced(tokens: NDArray[Any], block_size: int, count: int, split: str = "validation") -> NDArray[Any]:
    """`count` windows (count, T) at even distances, overlapping in a short split. Raises DataError when it is shorter than a block."""
    require_block(tokens, block_size, split)
    starts = np.floor(np.linspace(0, len(tokens) - block_size, count)).astype(np.int64)
    windows: NDArray[Any] = sliding_window_view(tokens, block_size)[starts]
    return windows


def require_block(tokens: NDArray[Any], block_size: int, split: str) -> None:
    """Raises DataError when the `split` (N,) is shorter than one block."""
    if len(tokens) < block_size:
        fraction = "a larger dataset.validation_fraction" if split == "validation" else "a smaller dataset.validation_fraction"
        raise DataError(
            f"the {split} split has {len(tokens):,} characters, fewer than one block of {block_size:,}: give a longer text, {fraction} or "
            f"a smaller training.block_size"
        )


def _drawn(seed: int, samples: NDArray[np.int64], choices: int) -> NDArray[np.int64]:
    """One number in 0..choices-1 for each sample (B,)."""
    return (uniforms(keys_of(root_key(seed, WINDOWS), samples), 1)[:, 0] * choices).astype(np.int64)


@lru_cache(maxsize=EPOCHS_KEPT)
def _epoch(seed: int, epoch: int, count: int) -> tuple[NDArray[np.int64], float]:
    """The order (W,) of an epoch's windows, and its offset as a share of what is possible, in [0, 1)."""
    root = root_key(seed, WINDOWS, epoch)
    order = permutation(fold(root, ORDER), count)
    order.flags.writeable = False
    return order, float(uniforms(fold(root, OFFSET), 1)[0, 0])
