"""Generated texts beside real text, by their characters: how far their n-grams are apart, how varied they are, how many words are real.

A text is finite, so real text is not at divergence 0 from other real text either, and its n-grams repeat. Compare each value with its
floor: the same statistic of as many real pieces, as long, cut from the training text (`real_pieces`). The headline is the divergence of
4-grams, which counts whatever shorter n-grams show (the data-processing inequality, edges of the texts apart) and more. For 64 pieces
of 256 characters of tiny Shakespeare the floor is 0.345, and differs by 0.003 from one cut to the next; Markov chains of order 1 and 2
have 0.665 and 0.423. By 3-grams the second of them is not distinguishable from real text.

A value is NaN where there is nothing to measure: no n-gram in the samples or in the reference, or no whole word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
    """Counts of the n-grams of some texts, for n = 1, 2, ..., in the order of code points; none reaches from one text into the next."""

    counts: tuple[dict[str, int], ...]

    @classmethod
    def of(cls, texts: Sequence[str], orders: int = ORDERS) -> Self:
        """Count the n-grams of `texts` for n from 1 to `orders`."""
        counters = [Counter(text[i : i + n] for text in texts for i in range(len(text) - n + 1)) for n in range(1, orders + 1)]
        return cls(tuple(dict(sorted(counter.items())) for counter in counters))

    def divergences(self, texts: Sequence[str]) -> tuple[float, ...]:
        """Jensen-Shannon divergence in bits between the n-grams of `texts` and these, for each n."""
        others = Ngrams.of(texts, len(self.counts)).counts
        return tuple(_divergence(found, counts) for found, counts in zip(others, self.counts, strict=True))

    @property
    def distinct(self) -> tuple[float, ...]:
        """Different n-grams over all, for each n."""
        return tuple(_ratio(len(counts), sum(counts.values())) for counts in self.counts)

    @property
    def entropy(self) -> float:
        """Bits per character of the distribution of single characters."""
        counts = np.array(list(self.counts[0].values()))
        if not len(counts):
            return np.nan
        p = counts / counts.sum()
        return abs(float(p @ np.log2(p)))


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


def _divergence(found: Mapping[str, int], counts: Mapping[str, int]) -> float:
    """JS(p, q) = KL(p || m) / 2 + KL(q || m) / 2 with m = (p + q) / 2; n-grams that `counts` lacks make one last entry of p."""
    if not found or not counts:
        return np.nan
    shared = [found.get(ngram, 0) for ngram in counts]
    p = np.array([*shared, sum(found.values()) - sum(shared)]) / sum(found.values())
    q = np.append(np.array(list(counts.values())) / sum(counts.values()), 0.0)
    m = (p + q) / 2
    return float(np.clip((_relative_entropy(p, m) + _relative_entropy(q, m)) / 2, 0, 1))


def _relative_entropy(p: NDArray[np.float64], m: NDArray[np.float64]) -> float:
    there = p > 0
    return float(p[there] @ np.log2(p[there] / m[there]))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else np.nan
