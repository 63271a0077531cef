"""The user's own texts: a file or a folder, compressed or not, of any script, and each mistake in one line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from masklab.errors import DataError
from masklab.text.sources.text_file import TextFile


def text_at(place: Path) -> str:
    return TextFile(path=str(place)).text(place)


def refusal(place: Path) -> str:
    """The message of reading `place`; its state may be all that cannot be told."""
    with pytest.raises(DataError) as caught:
        TextFile(path=str(place)).splits(0.1, place)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@settings(deadline=None)
@given(st.text(min_size=1))
@example("\r\n\r \x00\u2028")
def test_a_file_is_read_to_the_character(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.mktemp("text") / "a.txt"
    file.write_bytes(text.encode("utf-8"))
    assert text_at(file) == text.removeprefix("\ufeff")


def test_only_a_byte_order_mark_is_dropped_and_only_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\xef\xbb\xbf\r\n")
    assert text_at(tmp_path / "a.txt") == "a\r\nb\ufeff\r\n"


def test_a_compressed_file_is_read_like_the_plain_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("déjà vu\n".encode()))
    assert text_at(tmp_path / "a.txt.gz") == "déjà vu\n"


def test_a_folder_is_read_in_sorted_order_with_blank_lines_between_files(tmp_path: Path) -> None:
    files = {"b.txt": "two\n", "a/z.txt": "one", "c.md": "three\n\n", "d.txt": "", "e.txt": "four\n", ".hidden": "no", ".git/x": "no"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "dd.gz").write_bytes(gzip.compress(b"packed"))
    assert text_at(tmp_path) == "one\n\ntwo\n\nthree\n\npacked\n\nfour\n"


def test_a_hidden_folder_can_be_named_itself(tmp_path: Path) -> None:
    (tmp_path / ".texts").mkdir()
    (tmp_path / ".texts" / "a").write_text("words", encoding="utf-8")
    assert text_at(tmp_path / ".texts") == "words"


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").write_text("words", encoding="utf-8")
    assert text_at(Path("~/a.txt")) == "words"


@pytest.mark.parametrize(
    ("content", "offset", "byte"), [(b"abc\xff", 3, "FF"), (b"\xef\xbb\xbfab\x80", 5, "80"), ("é".encode()[:1], 0, "C3")]
)
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_invalid_utf8_is_refused_with_file_and_byte_offset(tmp_path: Path, name: str, content: bytes, offset: int, byte: str) -> None:
    file = tmp_path / name
    file.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert f"{file}: invalid UTF-8 at byte offset {offset} (0x{byte})" in refusal(file)
    assert str(file) in refusal(tmp_path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    assert f"{tmp_path / 'a.txt'}: the text is empty" in refusal(tmp_path / "a.txt")
    assert "the text is empty" in refusal(tmp_path)


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    assert "the folder holds no files" in refusal(tmp_path)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "no such file or folder" in refusal(tmp_path / "nothing.txt")
    with pytest.raises(DataError, match="no such file or folder"):
        TextFile(path=str(tmp_path / "nothing.txt")).state()


@pytest.mark.parametrize("content", [b"no gzip at all", gzip.compress(b"cut short" * 100, mtime=0)[:-9], b""])
def test_a_damaged_compressed_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.gz").write_bytes(content)
    assert ("damaged or not compressed" if content else "the text is empty") in refusal(tmp_path / "a.gz")


@pytest.mark.parametrize("path", [None, ""])
def test_a_path_must_be_given(path: str | None) -> None:
    with pytest.raises(ValidationError, match=r"source=text needs a path: give dataset\.path=FILE"):
        TextFile.model_validate({"path": path})


def test_the_last_tenth_is_held_out_as_nanogpt_does(tmp_path: Path) -> None:
    text = "".join(chr(97 + i % 26) for i in range(1009))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    splits = TextFile(path=str(tmp_path / "a.txt")).splits(0.1, tmp_path)
    assert splits.vocabulary.decode(splits.train) == text[: int(len(text) * 0.9)]
    assert splits.vocabulary.decode(splits.validation) == text[int(len(text) * 0.9) :]


@pytest.mark.parametrize(("text", "fraction", "split"), [("abc", 1e-18, "validation"), ("a", 0.1, "training"), ("abc", 0.9, "training")])
def test_an_empty_split_is_refused_with_its_name_and_the_fraction(tmp_path: Path, text: str, fraction: float, split: str) -> None:
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=f"the {split} split is empty: {len(text)} characters at dataset.validation_fraction={fraction:g}"):
        TextFile(path=str(tmp_path / "a.txt")).splits(fraction, tmp_path)
