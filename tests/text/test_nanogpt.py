"""nanoGPT's folder is read as it is, and its pickle can neither run anything nor lie."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklab.errors import DataError
from masklab.text.sources.nanogpt import NanoGPT
from masklab.text.sources.origin import Splits


def prepared(folder: Path, text: str = "to be, or not to be\n", cut: int = 15, **meta: Any) -> Path:
    """What nanoGPT's `data/shakespeare_char/prepare.py` writes for `text`; `meta` changes the table."""
    folder.mkdir(exist_ok=True)
    characters = sorted(set(text))
    stoi = {c: i for i, c in enumerate(characters)}
    tokens = np.array([stoi[c] for c in text], dtype=np.uint16)
    tokens[:cut].tofile(folder / "train.bin")
    tokens[cut:].tofile(folder / "val.bin")
    table = {"vocab_size": len(characters), "itos": dict(enumerate(characters)), "stoi": stoi} | meta
    (folder / "meta.pkl").write_bytes(pickle.dumps(table))
    return folder


def read(folder: Path) -> Splits:
    return NanoGPT(path=str(folder)).splits(0.5, folder)


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@settings(deadline=None)
@given(st.text(min_size=2, max_size=60), st.data())
def test_both_splits_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, text: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(text) - 1))
    splits = read(prepared(tmp_path_factory.mktemp("nanogpt"), text, cut))
    assert splits.vocabulary.decode(splits.train) == text[:cut]
    assert splits.vocabulary.decode(splits.validation) == text[cut:]
    assert splits.train.dtype == splits.vocabulary.dtype


def test_other_numbers_beside_the_vocabulary_are_none_of_its_business(tmp_path: Path) -> None:
    splits = read(prepared(tmp_path, train_tokens=9_035_582_198, seconds=300_000_000))
    assert splits.vocabulary.characters == tuple(sorted(set("to be, or not to be\n")))


def test_a_vocabulary_in_another_order_is_renumbered(tmp_path: Path) -> None:
    folder = prepared(tmp_path, "abcabc", 4, itos={0: "z", 1: "x", 2: "y"}, stoi={"z": 0, "x": 1, "y": 2})
    splits = read(folder)
    assert splits.vocabulary.characters == ("x", "y", "z")
    assert splits.vocabulary.decode(splits.train) == "zxyz"


def test_a_pickle_that_names_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {marker}",)

    folder = prepared(tmp_path / "data", vocab_size=Harm())
    message = refusal(folder)
    assert "refused (it asks for " in message
    assert "system" in message
    assert not marker.exists()


@pytest.mark.parametrize("value", [os.path.join, np.arange(3), Path(), {1}.__class__, ValueError("x")])
def test_no_global_at_all_is_looked_up(tmp_path: Path, value: Any) -> None:
    assert "refused" in refusal(prepared(tmp_path, extra=value))


@pytest.mark.parametrize("content", [b"", b"junk", b"\x80\x05", b"c", b"cos\nsystem\n.", b"I1\n.", pickle.dumps([1]), b"\x82\x01."])
def test_a_damaged_pickle_is_refused(tmp_path: Path, content: bytes) -> None:
    prepared(tmp_path)
    (tmp_path / "meta.pkl").write_bytes(content)
    assert str(tmp_path / "meta.pkl") in refusal(tmp_path)


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_no_pickle_raises_anything_but_a_users_mistake(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = prepared(tmp_path_factory.mktemp("nanogpt"))
    (folder / "meta.pkl").write_bytes(content)
    refusal(folder)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"itos": {0: "ab"}}, "token 0 is 'ab', not a single character; only character vocabularies"),
        ({"itos": {0: 7}}, "token 0 is 7, not a single character"),
        ({"itos": {}}, "holds no table 'itos'"),
        ({"itos": ["a"]}, "holds no table 'itos'"),
        ({"itos": {1: "a", 2: "b"}}, "not numbered 0 to 1"),
        ({"itos": {"0": "a"}}, "not numbered 0 to 0"),
        ({"itos": {True: "a", False: "b"}}, "not numbered"),
        ({"vocab_size": 3}, "disagrees"),
        ({"stoi": {"a": 0}}, "disagrees"),
        ({"itos": {0: "a", 1: "a"}, "vocab_size": 2}, "a character twice"),
    ],
)
def test_a_table_that_is_no_character_vocabulary_is_refused(tmp_path: Path, meta: dict[str, Any], message: str) -> None:
    assert message in refusal(prepared(tmp_path, **meta))


def test_tokens_outside_the_vocabulary_are_refused_with_their_place(tmp_path: Path) -> None:
    prepared(tmp_path)
    np.array([0, 1, 500, 2], np.uint16).tofile(tmp_path / "val.bin")
    assert "val.bin: token 500 at place 2 is outside" in refusal(tmp_path)


def test_half_a_token_and_an_empty_split_are_refused(tmp_path: Path) -> None:
    prepared(tmp_path)
    (tmp_path / "train.bin").write_bytes(b"\x00\x00\x01")
    assert "train.bin: 3 bytes are not a whole number of 16-bit tokens" in refusal(tmp_path)
    (tmp_path / "train.bin").write_bytes(b"\x00\x00")
    (tmp_path / "val.bin").write_bytes(b"")
    assert "val.bin: the split is empty" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["train.bin", "val.bin", "meta.pkl"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (prepared(tmp_path) / name).unlink()
    assert f"{tmp_path / name}: no such file" in refusal(tmp_path)
    assert ("sub-word" in refusal(tmp_path)) == (name == "meta.pkl")


def test_a_missing_folder_and_a_file_in_its_place_are_refused(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nothing")
    (tmp_path / "file").touch()
    assert "is not a folder" in refusal(tmp_path / "file")
