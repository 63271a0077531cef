"""Statistics of texts against literal counts, SciPy's divergence and closed forms."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from masklab.sampling.text_statistics import (
    ORDERS,
    Ngrams,
    ReferenceText,
    real_pieces,
    real_words,
    text_statistics,
    words,
)

ANY = st.text(st.characters(exclude_categories=()), max_size=60)
FEW = st.text("ab 🙂\ud83d", max_size=40)
every_order = pytest.mark.parametrize("n", range(1, ORDERS + 1))


def counter(texts: Sequence[str], n: int) -> Counter[str]:
    return Counter(text[i : i + n] for text in texts for i in range(len(text) - n + 1))


def literal_divergence(texts: Sequence[str], reference: str, n: int) -> float:
    ours, theirs = counter(texts, n), counter([reference], n)
    if not ours or not theirs:
        return math.nan
    union = sorted(ours | theirs)
    return float(jensenshannon([ours[g] for g in union], [theirs[g] for g in union], base=2)) ** 2


def ngram_divergence(texts: Sequence[str], reference: str, n: int) -> float:
    return Ngrams.of([reference], n).divergences(texts)[-1]


def random_text(size: int, letters: str, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list(letters), size))


@settings(deadline=None)
@given(st.lists(ANY | FEW, max_size=5), ANY | FEW, st.integers(1, 6))
@example([], "", 1)
@example(["", "a", "ab"], "abab", 3)
@example(["🙂🙃", "\ud83d", "\ude42"], "🙂🙃🙂", 2)
@example(["ab", "cd"], "abcd", 2)
def test_the_divergence_is_that_of_literal_counts(texts: list[str], reference: str, n: int) -> None:
    assert ngram_divergence(texts, reference, n) == pytest.approx(literal_divergence(texts, reference, n), abs=1e-9, nan_ok=True)


@every_order
def test_a_long_text_of_many_characters_is_counted_exactly(n: int) -> None:
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + 300))) + "🙂🙃"
    texts, reference = [random_text(300, letters, seed) for seed in range(5)], random_text(5000, letters, 9)
    assert ngram_divergence(texts, reference, n) == pytest.approx(literal_divergence(texts, reference, n), abs=1e-9)


def test_keys_of_a_large_alphabet_do_not_run_over() -> None:
    """4-grams of 70,000 different characters have 64.4 bits as digits of one number."""
    everything = "".join(map(chr, range(0x10000, 0x10000 + 70_000)))
    assert ngram_divergence([everything], everything, 4) == 0
    assert ngram_divergence([everything[::-1]], everything, 4) == pytest.approx(1)
    assert ngram_divergence([everything[-4:]], everything, 4) == pytest.approx(literal_divergence([everything[-4:]], everything, 4))


@settings(deadline=None)
@given(ANY.filter(lambda text: len(text) >= ORDERS))
def test_a_text_is_at_divergence_0_from_itself(text: str) -> None:
    assert Ngrams.of([text]).divergences([text]) == (0.0,) * ORDERS


@every_order
def test_texts_without_a_common_character_are_one_bit_apart(n: int) -> None:
    assert ngram_divergence([random_text(200, "abc", 0)], random_text(999, "xyz", 1), n) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("share", "bits"), [(0, 1.5 - 0.75 * math.log2(3)), (1, 0.0)])
def test_the_divergence_has_its_closed_form(share: int, bits: float) -> None:
    """Between (1, 0) and (1/2, 1/2) it is 3/2 - 3/4 log2 3."""
    assert ngram_divergence(["a" * 8 + "b" * 8 * share], "ab", 1) == pytest.approx(bits)


def test_n_grams_do_not_reach_from_one_sample_into_the_next() -> None:
    assert ngram_divergence(["ab", "ab"], "ab", 2) == 0
    assert ngram_divergence(["abab"], "ab", 2) > 0
    assert math.isnan(ngram_divergence(["a", "b"], "ab", 2))


@settings(deadline=None)
@given(st.lists(ANY | FEW, max_size=5))
def test_distinctness_and_entropy_are_those_of_literal_counts(texts: list[str]) -> None:
    ngrams = Ngrams.of(texts)
    for n, got in enumerate(ngrams.distinct, 1):
        counts = counter(texts, n)
        assert got == (pytest.approx(len(counts) / counts.total()) if counts else pytest.approx(math.nan, nan_ok=True))
    frequencies = list(counter(texts, 1).values())
    wanted = float(entropy(frequencies, base=2)) if frequencies else math.nan
    assert ngrams.entropy == pytest.approx(wanted, abs=1e-9, nan_ok=True)


def test_entropy_has_its_closed_forms() -> None:
    assert Ngrams.of(["aaaa", "a"]).entropy == 0 and math.copysign(1, Ngrams.of(["a"]).entropy) == 1
    assert Ngrams.of(["abcd" * 3]).entropy == pytest.approx(2)
    assert Ngrams.of(["aab", "c"]).entropy == pytest.approx(1.5)


def test_a_collapsed_sampler_has_few_distinct_n_grams() -> None:
    varied = [random_text(256, "abcdefgh", seed) for seed in range(8)]
    reference = ReferenceText.of(random_text(9999, "abcdefgh", 99), "")
    fine, same, looped = (text_statistics(texts, reference) for texts in (varied, varied[:1] * 8, ["abcd" * 64] * 8))
    assert fine.distinct[-1] > 4 * same.distinct[-1] > 4 * looped.distinct[-1]
    assert looped.distinct == tuple(4 / (8 * (256 - n)) for n in range(ORDERS))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("To be, or not to be", {"to", "be", "or", "not"}),
        ("don't DON’T 'tis rock'n'roll dogs' a''b", {"don't", "tis", "rock'n'roll", "dogs", "a", "b"}),
        ("x1y under_score well-known", {"x", "y", "under", "score", "well", "known"}),
        ("Straße ÉTÉ привет 你好 🙂", {"strasse", "été", "привет", "你好"}),
        ("1 2 _ '", set()),
    ],
)
def test_words_are_runs_of_letters_with_apostrophes_inside(text: str, found: set[str]) -> None:
    assert words(text) == found


@pytest.mark.parametrize(
    ("sample", "share"),
    [
        (" the cat ", 1.0),
        (" the zqx ", 0.5),
        ("zqx the cat zqx", 1.0),
        ("the", None),
        (" the", None),
        ("the ", None),
        ("the cat", None),
        ("", None),
        ("...", None),
        (" THE Cat. ", 1.0),
        (" don’t ", 1.0),
        (" the don'", 1.0),
        ("'zqx the ", 1.0),
        (" the 'zqx' ", 0.5),
    ],
)
def test_whole_words_are_compared_with_those_of_the_training_text(sample: str, share: float | None) -> None:
    known = words("The cat. Don't!")
    assert real_words([sample], known) == pytest.approx(math.nan if share is None else share, nan_ok=True)


def test_words_of_all_samples_count_alike() -> None:
    assert real_words([" a a a ", " b ", "b"], words("a")) == 0.75


@settings(deadline=None)
@given(st.lists(ANY | st.text("a'’ \n"), max_size=5), ANY)
def test_each_word_that_has_something_on_both_sides_counts(texts: list[str], known: str) -> None:
    """Set between blanks, a text's own edges are no edges of the sample."""
    padded = [f" {text} " for text in texts]
    every = [word.replace("’", "'").casefold() for text in texts for word in re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", text)]
    wanted = sum(word in words(known) for word in every) / len(every) if every else math.nan
    assert real_words(padded, words(known)) == pytest.approx(wanted, nan_ok=True)


@settings(deadline=None)
@given(st.lists(ANY, max_size=4), ANY, ANY)
def test_any_texts_have_figures_within_their_bounds(samples: list[str], reference: str, known: str) -> None:
    got = text_statistics(samples, ReferenceText.of(reference, known))
    assert len(got.divergence) == len(got.distinct) == ORDERS
    assert got.headline is got.divergence[-1]
    for figure in (*got.divergence, *got.distinct, got.real_words):
        assert math.isnan(figure) or 0 <= figure <= 1
    assert math.isnan(got.entropy) or 0 <= got.entropy <= 21


@settings(deadline=None)
@given(ANY, st.lists(st.integers(0, 80), max_size=12), st.integers(0, 3))
def test_real_pieces_are_cut_from_the_text_with_the_lengths_asked_for(text: str, lengths: list[int], seed: int) -> None:
    pieces = real_pieces(text, lengths, seed)
    assert [len(piece) for piece in pieces] == [min(length, len(text)) for length in lengths]
    assert all(piece in text for piece in pieces)
    assert pieces == real_pieces(text, lengths, seed)


def test_real_pieces_are_spread_over_the_text_and_depend_on_the_seed() -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 10_000)))
    pieces = real_pieces(text, [100] * 50)
    starts = [text.index(piece) for piece in pieces]
    assert [start * 50 // 9901 for start in starts] == list(range(50))
    assert real_pieces(text, [100] * 50, seed=1) != pieces


def test_the_floor_of_real_pieces_falls_with_their_number_and_generated_text_lies_above_it() -> None:
    """A source whose letters depend on the one before; the imitation has the right letters in no order."""
    steps = np.random.default_rng(0).integers(1, 4, 200_000).cumsum() % 8
    source = "".join("abcdefgh"[i] for i in steps)
    training, reference = source[:100_000], ReferenceText.of(source[100_000:], source[:100_000])
    floors = [text_statistics(real_pieces(training, [64] * count), reference).headline for count in (4, 32, 256)]
    assert floors[0] > floors[1] > floors[2] > 0
    shuffled = [random_text(64, "abcdefgh", seed) for seed in range(32)]
    assert text_statistics(shuffled, reference).headline > 2 * floors[1]


def test_many_samples_are_measured_quickly() -> None:
    reference = ReferenceText.of(random_text(100_000, "abcdefghijklmnopqrstuvwxyz ", 0), "")
    samples = [random_text(256, "abcdefghijklmnopqrstuvwxyz ", seed) for seed in range(64)]
    began = time.process_time()
    text_statistics(samples, reference)
    assert time.process_time() - began < 1
