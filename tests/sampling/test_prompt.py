"""Prompts with gaps: what is written is what is given, at its place, and whatever is wrong is said in one line."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from masklab.errors import ConfigError, DataError, UserError
from masklab.sampling.prompt import GAP, LONGEST, SURROGATE, Gap, Prompt, UnknownCharacters
from masklab.text.vocabulary import MASK_SIGN, Vocabulary

LETTERS = Vocabulary.of_text("abcdefgh [](){}5n*.\\'-\n")
ANY = st.text(st.characters(exclude_categories=())) | st.text("ab[]*\\n0159")
KNOWN = st.text("ab [](5n*.\\'\n", max_size=20)


def escaped(text: str) -> str:
    """How exactly `text` is written in a prompt: no part of it is a gap or an escape."""
    return re.sub(rf"(?={GAP})", r"\\", text.replace("\\", r"\\"))


def laid_out(
    prompt: str, length: int | None = None, block_size: int = 12, unknown: UnknownCharacters = "error", limit: int | None = 12
) -> str:
    """The text to begin with, gaps shown as "▁"."""
    tokens, known = Prompt.parse(prompt).tokens(LETTERS, length, block_size, unknown, limit)
    assert (tokens.dtype, known.dtype, tokens.ndim) == (np.int64, np.bool_, 1)
    assert np.array_equal(known, tokens != LETTERS.mask_id)
    return LETTERS.decode(tokens)


@pytest.mark.parametrize(
    ("prompt", "length", "text"),
    [
        ("", None, "▁" * 12),
        ("abc", None, "abc▁▁▁▁▁▁▁▁▁"),
        ("abc", 4, "abc▁"),
        ("[*] dead.", None, "▁▁▁▁▁▁ dead."),
        ("ab[*]cd", 6, "ab▁▁cd"),
        ("ab[5]cd", None, "ab▁▁▁▁▁cd"),
        ("ab[5]cd", 9, "ab▁▁▁▁▁cd"),
        ("ab[5]cd", 11, "ab▁▁▁▁▁cd▁▁"),
        ("[2]a[*]b[1]", 8, "▁▁a▁▁▁b▁"),
        ("[2][3]", None, "▁▁▁▁▁"),
        ("[005]", None, "▁▁▁▁▁"),
        ("[*]", 1, "▁"),
    ],
)
def test_gaps_take_their_size_and_the_rest_goes_where_it_is_wanted(prompt: str, length: int | None, text: str) -> None:
    assert laid_out(prompt, length) == text


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        (r"a\nb", "a\nb"),
        (r"a\\nb", r"a\nb"),
        ("a\nb", "a\nb"),
        (r"\[5]", "[5]"),
        (r"\[*]", "[*]"),
        (r"\\[5]", "\\▁▁▁▁▁"),
        (r"\\\[5]", r"\[5]"),
        (r"a\[b]", r"a\[b]"),
        ("[a]", "[a]"),
        ("[-5]", "[-5]"),
        ("[ 5]", "[ 5]"),
        ("[5.5]", "[5.5]"),
        ("[]", "[]"),
        ("[[5]]", "[▁▁▁▁▁]"),
        ("[5", "[5"),
        (r"\a", r"\a"),
        ("a\\", "a\\"),
    ],
)
def test_a_backslash_writes_new_lines_brackets_and_itself(prompt: str, text: str) -> None:
    assert laid_out(prompt).rstrip("▁") == text.rstrip("▁")


@pytest.mark.parametrize("digit", "٣３²५")
def test_only_plain_digits_make_a_gap(digit: str) -> None:
    assert Prompt.parse(f"[{digit}]").gaps == []


def test_a_prompt_tells_its_gaps_and_whether_it_fills_any_length() -> None:
    assert Prompt.parse("a[3]b[*]").gaps == [Gap(3), Gap(None)]
    assert [Prompt.parse(text).fills_length for text in ("", "ab", "[*]", "[2][*]", "[2]", "a[2]b")] == [
        True,
        True,
        True,
        True,
        False,
        False,
    ]


@settings(deadline=None)
@given(ANY, st.integers(1, 40) | st.none(), st.sampled_from(["error", "mask", "drop"]), st.sampled_from([12, None]))
@example("[" + "9" * 5000 + "]", None, "error", None)
@example(f"[{LONGEST}]" * 3, None, "error", None)
@example("\ud800[3]\udfff", None, "error", 12)
@example("a" * 12, 12, "error", 12)
@example("\x00\u0345", None, "error", 12)
def test_any_text_is_laid_out_with_something_to_generate_or_is_a_users_mistake(
    text: str, length: int | None, unknown: UnknownCharacters, limit: int | None
) -> None:
    try:
        tokens, known = Prompt.parse(text).tokens(LETTERS, length, 12, unknown, limit)
    except UserError as error:
        message = str(error)
        assert message.startswith(("sampling.prompt", "sampling.length"))
        assert message.isprintable() and len(message) < 400
        return
    assert len(tokens) == len(known) and not known.all()
    assert length is None or len(tokens) == length
    assert limit is None or len(tokens) <= limit


@settings(deadline=None)
@given(KNOWN)
def test_an_escaped_text_is_given_as_it_is(text: str) -> None:
    assert laid_out(escaped(text), len(text) + 1, limit=None) == text + MASK_SIGN


@settings(deadline=None)
@given(ANY.filter(lambda text: not SURROGATE.search(text)))
def test_an_escaped_text_has_no_gap(text: str) -> None:
    pieces = Prompt.parse(escaped(text)).pieces
    assert "".join(str(piece) for _, piece in pieces) == text


@settings(deadline=None)
@given(st.lists(st.tuples(KNOWN, st.integers(1, 9)), max_size=4), KNOWN, st.integers(0, 9), st.booleans(), st.integers(0, 9))
@example([("[", 5)], "]", 1, True, 2)
def test_given_characters_appear_at_their_places_and_lengths_add_up(
    gaps: list[tuple[str, int]], end: str, at: int, starred: bool, more: int
) -> None:
    """A template and its layout are built side by side, from texts and sizes of gaps."""
    parts: list[str | int] = [*(part for pair in gaps for part in pair), end]
    sized = bool(gaps)
    rest = max(more, int(starred or not sized))
    at = min(at, len(parts)) if starred else len(parts)
    written = [escaped(part) if isinstance(part, str) else f"[{part}]" for part in parts]
    shown = [part if isinstance(part, str) else MASK_SIGN * part for part in parts]
    text = "".join([*shown[:at], MASK_SIGN * rest, *shown[at:]])
    template = "".join([*written[:at], "[*]" if starred else "", *written[at:]])
    assert laid_out(template, len(text), limit=None) == text
    if sized and not starred:
        assert laid_out(template, None, limit=None) == text[: len(text) - rest]
    else:
        assert laid_out(template, None, block_size=len(text), limit=None) == text


def test_unknown_characters_are_masked_or_dropped() -> None:
    assert laid_out("aXb[2]Yc", unknown="mask") == "a▁b▁▁▁c"
    assert laid_out("aXb[2]Yc", unknown="drop") == "ab▁▁c"
    assert laid_out("XX", unknown="drop") == "▁" * 12
    assert laid_out("X" * 20 + "[*]a", 3, unknown="drop") == "▁▁a"


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("ab[5]X", r"'X' \(U\+0058\) at offset 5,.*leave it out"),
        (r"a\n\[5]X", r"'X' \(U\+0058\) at offset 7,"),
        ("A", "write 'a'"),
        ("é", "write 'e'"),
        ("b’a", 'write "\'"'),
        ("a—b", "write '-'"),
        ("🙂", r"'🙂' \(U\+1F642\)"),
        ("X", "sampling.unknown=mask.*sampling.unknown=drop"),
    ],
)
def test_an_unknown_character_is_named_with_a_way_out(prompt: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        laid_out(prompt)


@pytest.mark.parametrize("unknown", ["error", "mask", "drop"])
def test_bytes_that_are_no_utf_8_are_refused_under_every_policy(unknown: UnknownCharacters) -> None:
    with pytest.raises(ConfigError, match="byte at offset 1 that is not UTF-8"):
        Prompt.parse("a\udcffb").tokens(LETTERS, None, 12, unknown, None)


@pytest.mark.parametrize(
    ("prompt", "length", "words"),
    [
        ("a[0]b", None, r"a gap of no characters.*give \[1\] or more"),
        ("[000]", None, "a gap of no characters"),
        ("[*]a[*]", None, r"more than one \[\*\]"),
        ("[1000001]", None, r"a gap of more than 1,000,000 characters, \[1000001\]"),
        (f"[{'7' * 5000}]", None, r"\[777777777777\.\.\.\]"),
        ("[600000][600000]", None, "spans 1,200,000 characters"),
        ("abcdef", 5, "has 6 characters, more than the 5 of sampling.length; shorten it, or give sampling.length=7 or more$"),
        ("abc[3]", 5, "has 6 characters, more than the 5 of sampling.length; shorten it, or give sampling.length=6 or more$"),
        ("abcde", 5, "leaves nothing of sampling.length=5 to generate; .* sampling.length=6 or more$"),
        ("abc[2][*]", 5, "leaves nothing of sampling.length=5"),
        ("a" * 13, None, "more than the 12 of the model's block_size; .*sampling.length=14 or more with sampling.strategy=semi_auto"),
        ("a" * 12, None, "leaves nothing of the model's block_size=12 to generate; .*=13 or more with sampling.strategy=semi_auto"),
        (
            "a[12]",
            None,
            "spans 13 characters.*more than the model's block_size=12; give at most 12, or sampling.strategy=semi_autoregressive",
        ),
        ("a", 13, "sampling.length=13 is more than the model's block_size=12; give at most 12, or sampling.strategy=semi_autoregressive"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_do(prompt: str, length: int | None, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        laid_out(prompt, length)


def test_without_a_limit_a_text_may_be_longer_than_the_block_but_not_endless() -> None:
    assert laid_out("ab", 30, limit=None) == "ab" + "▁" * 28
    assert len(laid_out("a[20]b", None, limit=None)) == 22
    assert len(laid_out("", LONGEST, limit=None)) == LONGEST
    with pytest.raises(ConfigError, match=re.escape(f"sampling.length={10**15} is more than can be generated")):
        laid_out("", 10**15, limit=None)
