"""A corpus comes back from its file as it was, or is refused."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklab.errors import DataError
from masklab.text.corpus import TokenCorpus
from masklab.text.vocabulary import Vocabulary


def corpus_of(text: str, cut: int, **provenance: str) -> TokenCorpus:
    vocabulary = Vocabulary.of_text(text)
    tokens = vocabulary.encode(text)
    return TokenCorpus(tokens[:cut], tokens[cut:], vocabulary, provenance)


def mapped_to_a_file(array: np.ndarray) -> bool:
    """Whether the array's memory belongs to Arrow, and not to numpy."""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, pa.Buffer | pa.Array)


@settings(deadline=None)
@given(text=st.text(min_size=2, max_size=300), share=st.floats(0.01, 0.99))
def test_a_file_gives_back_tokens_vocabulary_provenance_and_fingerprint(
    tmp_path_factory: pytest.TempPathFactory, text: str, share: float
) -> None:
    path = tmp_path_factory.mktemp("corpus") / "c.arrow"
    made = corpus_of(text, max(1, int(len(text) * share)), source="a file of mine")
    made.write(path)
    opened = TokenCorpus.open(path)
    assert (opened.vocabulary, opened.provenance, opened.fingerprint) == (made.vocabulary, made.provenance, made.fingerprint)
    for split in ("train", "validation"):
        np.testing.assert_array_equal(getattr(opened, split), getattr(made, split))


@pytest.mark.parametrize("text", ["plain", "".join(chr(0x4E00 + i) for i in range(400))])
def test_an_opened_corpus_is_mapped_and_cannot_be_written_to(tmp_path: Path, text: str) -> None:
    corpus_of(text, 3).write(tmp_path / "c.arrow")
    opened = TokenCorpus.open(tmp_path / "c.arrow")
    assert opened.train.dtype == (np.uint8 if len(text) < 200 else np.uint16)
    for tokens in (opened.train, opened.validation):
        assert mapped_to_a_file(tokens)
        with pytest.raises(ValueError, match="read-only"):
            tokens[0] = 0


def test_the_fingerprint_is_that_of_the_content_alone() -> None:
    base = corpus_of("abcabc", 4, source="here")
    assert corpus_of("abcabc", 4, source="there").fingerprint == base.fingerprint
    others = [corpus_of("abcabc", 3), corpus_of("abcacb", 4), corpus_of("abdabd", 4)]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_the_arrays_handed_in_stay_writable_and_the_corpus_is_not() -> None:
    tokens = np.zeros(4, np.uint8)
    corpus = TokenCorpus(tokens, tokens, Vocabulary.of_text("a"), {})
    assert tokens.flags.writeable
    assert not corpus.train.flags.writeable


def test_a_corpus_survives_the_way_to_another_process() -> None:
    corpus = corpus_of("some text\n", 6, source="x")
    assert pickle.loads(pickle.dumps(corpus)).fingerprint == corpus.fingerprint


def test_any_flipped_byte_of_the_tokens_and_any_cut_is_found(tmp_path: Path) -> None:
    path = tmp_path / "c.arrow"
    corpus_of("0123456789" * 50, 400).write(path)
    content = path.read_bytes()
    place = content.index(bytes(range(10)) * 3)
    damaged = [content[: place + 5] + b"\x00" + content[place + 6 :], b"", b"text", *(content[:n] for n in range(1, len(content), 97))]
    for number, other in enumerate(damaged):
        file = tmp_path / f"{number}.arrow"
        file.write_bytes(other)
        with pytest.raises(DataError, match="cannot be read as a corpus") as caught:
            TokenCorpus.open(file)
        assert "\n" not in str(caught.value)


def test_an_arrow_file_of_another_program_is_refused(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("tokens", pa.uint8())])
    with pa.OSFile(str(tmp_path / "c.arrow"), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch([pa.array([1], pa.uint8())], schema=schema))
    with pytest.raises(DataError, match="format 'unknown'"):
        TokenCorpus.open(tmp_path / "c.arrow")


def test_a_missing_file_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        TokenCorpus.open(tmp_path / "c.arrow")


def test_many_writers_of_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "c.arrow"
    corpora = [corpus_of(str(i) * 5000, 4000) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda corpus: corpus.write(path), corpora * 4))
    assert TokenCorpus.open(path).fingerprint in {corpus.fingerprint for corpus in corpora}
    assert list(path.parent.iterdir()) == [path]


def test_an_open_corpus_outlives_the_replacement_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "c.arrow"
    corpus_of("a" * 9000, 8000).write(path)
    opened = TokenCorpus.open(path)
    corpus_of("bcd", 1).write(path)
    assert opened.vocabulary.decode(opened.train) == "a" * 8000


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.arrow"
    corpus_of("old", 1).write(path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match="No space left on device"):
        corpus_of("new", 1).write(path)
    assert (list(tmp_path.iterdir()), path.read_bytes()) == ([path], before)


def test_a_place_that_cannot_be_a_folder_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match="cannot be written"):
        corpus_of("new", 1).write(tmp_path / "file" / "c.arrow")
