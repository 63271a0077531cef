"""Generated texts beside real text, by their characters: how far their n-grams are apart, how varied they are, how many words are real.

A text is finite, so real text is not at divergence 0 from other real text either, and its n-grams repeat. Compare each value with its
floor: the same statistic of as many real pieces, as long, cut from the training text (`real_pieces`). The headline is the divergence of
4-grams, which counts whatever shorter n-grams show (the data-processing inequality, edges of the texts apart) and more. For 64 pieces
of 256 characters of tiny Shakespeare the floor is 0.345, and differs by 0.003 from one cut to the next; Markov chains of order 1 and 2
have 0.665 and 0.423. By 3-grams the second of them is not distinguishable from real text.

A value is NaN where there is nothing to measure: no n-gram in the samples or in the reference, or no whole word.

Shapes: N characters of all texts in a row, A of the alphabet, G different n-grams.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from masklab.rng import root_key, uniforms

ORDERS = 4
"""The n-grams of 1 up to this many characters are counted."""
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
APOSTROPHES = "'’"


@dataclass(frozen=True)
class TextStatistics:
    """Statistics of some texts. `divergence` and `distinct` have one for each n from 1 to `ORDERS`.

    `divergence`: Jensen-Shannon divergence of the n-grams from the reference's, in bits from 0 to 1 (Lin 1991, section IV).
    `distinct`: different n-grams over all n-grams of the texts together (Li et al. 2016, section 5.2); a collapsed sampler has few.
    `entropy`: bits per character of the distribution of single characters.
    `real_words`: share of the whole words that the training text has, whatever their case.
    """

    divergence: tuple[float, ...]
    distinct: tuple[float, ...]
    entropy: float
    real_words: float

    @property
    def headline(self) -> float:
        return self.divergence[-1]


@dataclass(frozen=True, eq=False)
class Ngrams:
    """Counts of the n-grams of some texts, for n = 1, 2, ...; none reaches from one text into the next.

    The n-grams of one length are numbered by their sorted `keys` (G,): the number of the (n-1)-gram that an n-gram begins with, times
    A, plus the number of its last character. So a key fits 64 bits whatever the `alphabet` (A,) of code points.
    """

    alphabet: NDArray[np.uint32]
    keys: tuple[NDArray[np.int64], ...]
    counts: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, texts: Sequence[str], orders: int = ORDERS) -> Self:
        """Count the n-grams of `texts` for n from 1 to `orders`."""
        codes_N, room_N = _characters(texts)
        alphabet, character_N = np.unique(codes_N, return_inverse=True)
        number_N = np.zeros(len(codes_N), np.int64)
        keys, counts = [], []
        for n in range(1, orders + 1):
            key_N = _keys(number_N, character_N, room_N, n, len(alphabet))
            there_N = key_N >= 0
            key_G, number_N[there_N], count_G = np.unique(key_N[there_N], return_inverse=True, return_counts=True)
            number_N[~there_N] = -1
            keys.append(key_G)
            counts.append(count_G)
        return cls(alphabet, tuple(keys), tuple(counts))

    def divergences(self, texts: Sequence[str]) -> tuple[float, ...]:
        """Jensen-Shannon divergence in bits between the n-grams of `texts` and these, for each n."""
        return tuple(_divergence(*counts) for counts in zip(self._found(texts), self.counts, strict=True))

    @property
    def distinct(self) -> tuple[float, ...]:
        """Different n-grams over all, for each n."""
        return tuple(_ratio(len(count_G), int(count_G.sum())) for count_G in self.counts)

    @property
    def entropy(self) -> float:
        """Bits per character of the distribution of single characters."""
        count_A = self.counts[0]
        if not len(count_A):
            return np.nan
        p_A = count_A / count_A.sum()
        return abs(float(p_A @ np.log2(p_A)))

    def _found(self, texts: Sequence[str]) -> Iterator[NDArray[np.int64]]:
        """For each n, how often each of these n-grams occurs in `texts`, and last how many others do: (G + 1,)."""
        codes_N, room_N = _characters(texts)
        character_N = _places(self.alphabet, codes_N)
        number_N = np.zeros(len(codes_N), np.int64)
        for n, key_G in enumerate(self.keys, 1):
            number_N = _places(key_G, _keys(number_N, character_N, room_N, n, len(self.alphabet)))
            count_G = np.bincount(number_N[number_N >= 0], minlength=len(key_G))
            yield np.append(count_G, np.count_nonzero(room_N >= n) - count_G.sum())


@dataclass(frozen=True, eq=False)
class ReferenceText:
    """What generated texts are compared with, counted once: the n-grams of a held-out text and the words of the training text."""

    ngrams: Ngrams
    words: frozenset[str]

    @classmethod
    def of(cls, reference: str, known: str) -> Self:
        """The n-grams of `reference`, such as the validation split, and the words of `known`, such as the training split."""
        return cls(Ngrams.of([reference]), words(known))


def text_statistics(samples: Sequence[str], reference: ReferenceText) -> TextStatistics:
    """The statistics of `samples` compared with `reference`.

    `text_statistics(real_pieces(training, lengths), reference)` is the floor. All its words are real; to see how many are in text
    that the training text does not hold, take the validation text for a sample.
    """
    own = Ngrams.of(samples)
    return TextStatistics(reference.ngrams.divergences(samples), own.distinct, own.entropy, real_words(samples, reference.words))


def real_pieces(text: str, lengths: Sequence[int], seed: int = 0) -> list[str]:
    """A piece of `text` for each of `lengths`, from places spread evenly over it; a shorter text is given whole."""
    u = uniforms(root_key(seed), len(lengths))[0]
    pieces = []
    for i, length in enumerate(lengths):
        last = max(len(text) - length, 0)
        start = min(int((i + u[i]) / len(lengths) * (last + 1)), last)
        pieces.append(text[start : start + length])
    return pieces


def words(text: str) -> frozenset[str]:
    """The words of `text`: runs of letters, with apostrophes inside, in lower case."""
    return frozenset(_written(word) for word in WORD.findall(text))


def real_words(samples: Sequence[str], known_words: frozenset[str]) -> float:
    """Share of the words in `samples` that are `known_words`; a word that touches a sample's edge may be cut off and does not count."""
    whole = [word for sample in samples for word in _whole_words(sample)]
    return _ratio(sum(word in known_words for word in whole), len(whole))


def _whole_words(sample: str) -> Iterator[str]:
    # an apostrophe at the edge may be inside a word that goes on beyond it
    first = len(sample) - len(sample.lstrip(APOSTROPHES))
    last = len(sample.rstrip(APOSTROPHES))
    return (_written(match[0]) for match in WORD.finditer(sample) if match.start() > first and match.end() < last)


def _written(word: str) -> str:
    return word.replace("’", "'").casefold()


def _characters(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Code points (N,) of all texts in a row, and how many characters of its text remain from each on, itself included (N,)."""
    codes_N = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    lengths = np.array([len(text) for text in texts], np.int64)
    return codes_N, np.repeat(lengths.cumsum(), lengths) - np.arange(len(codes_N))


def _keys(
    number_N: NDArray[np.int64], character_N: NDArray[np.int64], room_N: NDArray[np.int64], n: int, alphabet_size: int
) -> NDArray[np.int64]:
    """Key (N,) of the n-gram that begins at each place, from the `number` of the (n-1)-gram there; -1 where there is none."""
    key_N = np.full(len(number_N), -1)
    last_M = character_N[n - 1 :]
    first_M, room_M = number_N[: len(last_M)], room_N[: len(last_M)]
    key_N[: len(last_M)] = np.where((first_M >= 0) & (last_M >= 0) & (room_M >= n), first_M * alphabet_size + last_M, -1)
    return key_N


def _places(sorted_G: NDArray[np.uint32] | NDArray[np.int64], wanted_N: NDArray[np.uint32] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Place (N,) of each wanted value among the sorted ones, none of them negative; -1 for one that is not there."""
    place_N = np.searchsorted(sorted_G, wanted_N)
    there_N = np.append(sorted_G.astype(np.int64), -2)[place_N] == wanted_N
    return np.where(there_N, place_N, -1)


def _divergence(found: NDArray[np.int64], count_G: NDArray[np.int64]) -> float:
    """JS(p, q) = KL(p || m) / 2 + KL(q || m) / 2 with m = (p + q) / 2, where p has what q lacks last: `found` (G + 1,)."""
    if not found.sum() or not count_G.sum():
        return np.nan
    p, q = found / found.sum(), np.append(count_G / count_G.sum(), 0.0)
    m = (p + q) / 2
    return float(np.clip((_relative_entropy(p, m) + _relative_entropy(q, m)) / 2, 0, 1))


def _relative_entropy(p: NDArray[np.float64], m: NDArray[np.float64]) -> float:
    there = p > 0
    return float(p[there] @ np.log2(p[there] / m[there]))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else np.nan
