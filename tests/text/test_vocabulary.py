"""Characters and tokens go back and forth without loss, whatever the script."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from masklab.errors import DataError
from masklab.text import vocabulary as module
from masklab.text.vocabulary import SPECIAL_TOKENS, Vocabulary

TEXTS = st.text(min_size=1, max_size=200)


@settings(deadline=None)
@given(TEXTS)
@example("\r\n\x00\ufeff")
@example("שלום 你好 🙂 e\u0301")
def test_text_survives_encoding_and_decoding(text: str) -> None:
    vocabulary = Vocabulary.of_text(text)
    tokens = vocabulary.encode(text)
    assert (tokens.dtype, tokens.shape) == (vocabulary.dtype, (len(text),))
    assert vocabulary.decode(tokens) == text


@settings(deadline=None)
@given(TEXTS)
def test_a_token_is_the_rank_of_its_character(text: str) -> None:
    vocabulary = Vocabulary.of_text(text)
    assert vocabulary.characters == tuple(sorted(set(text)))
    assert vocabulary.encode(text).tolist() == [vocabulary.characters.index(c) for c in text]


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_the_first_unknown_character_is_named_with_code_point_and_offset(known: str, text: str) -> None:
    vocabulary = Vocabulary.of_text(known)
    unknown = [i for i, c in enumerate(text) if c not in known]
    if not unknown:
        assert vocabulary.decode(vocabulary.encode(text)) == text
        return
    with pytest.raises(DataError) as caught:
        vocabulary.encode(text)
    offset = unknown[0]
    assert f"character {text[offset]!r} (U+{ord(text[offset]):04X}) at offset {offset}" in str(caught.value)


def test_a_long_text_is_encoded_in_pieces_with_offsets_into_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 3)
    vocabulary = Vocabulary.of_text("ab")
    assert vocabulary.encode("abbaabab").tolist() == [0, 1, 1, 0, 0, 1, 0, 1]
    with pytest.raises(DataError, match="at offset 7"):
        vocabulary.encode("abbaaba!")


@settings(deadline=None)
@given(TEXTS)
def test_json_keeps_everything(text: str) -> None:
    vocabulary = Vocabulary.of_text(text)
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary


@pytest.mark.parametrize("value", [None, [], {}, {"characters": "ab"}, {"characters": [1]}, {"characters": ["a"], "special_tokens": []}])
def test_json_of_something_else_is_refused(value: object) -> None:
    with pytest.raises(DataError):
        Vocabulary.from_json(value)


def test_special_tokens_follow_the_characters_with_the_mask_first() -> None:
    vocabulary = Vocabulary.of_text("abc")
    assert (vocabulary.size, vocabulary.mask_id, vocabulary.pad_id, vocabulary.cls_id) == (3, 3, 4, 5)
    assert SPECIAL_TOKENS[:3] == ("[MASK]", "[PAD]", "[CLS]")
    assert vocabulary.decode([0, 3, 1, 4, 5, 15]) == "a▁b���"


@pytest.mark.parametrize("size", [1, 8, 9, 65, 96, 247, 248, 249, 5000])
def test_the_extended_size_is_the_next_multiple_of_16_and_decides_the_type(size: int) -> None:
    vocabulary = Vocabulary(tuple(chr(0x4E00 + i) for i in range(size)))
    extended = vocabulary.extended_size
    assert extended % 16 == 0
    assert size + len(SPECIAL_TOKENS) <= extended < size + len(SPECIAL_TOKENS) + 16
    assert vocabulary.dtype == (np.uint8 if extended <= 256 else np.uint16)
    assert np.iinfo(vocabulary.dtype).max >= extended - 1


def test_more_characters_than_16_bits_number_are_refused() -> None:
    most = 2**16 - len(SPECIAL_TOKENS)
    assert Vocabulary(tuple(chr(0x10000 + i) for i in range(most))).extended_size == 2**16
    with pytest.raises(DataError, match=f"{most + 1:,} different characters"):
        Vocabulary(tuple(chr(0x10000 + i) for i in range(most + 1)))


@pytest.mark.parametrize("characters", [(), ("ab",), ("",), ("b", "a"), ("a", "a")])
def test_what_is_no_sorted_list_of_single_characters_is_refused(characters: tuple[str, ...]) -> None:
    with pytest.raises(DataError):
        Vocabulary(characters)
