"""A corpus is made once, found again, and made anew when its text has changed; nothing half-made stays behind."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from masklab.errors import DataError
from masklab.text.corpus import TokenCorpus
from masklab.text.dataset import SOURCE, Dataset, Source, SourceName
from masklab.text.preparation import corpus_for, corpus_path
from masklab.text.sources.origin import TextOrigin
from masklab.text.sources.text_file import TextFile

WORDS = "Some words of a text.\n\nAnd some more of them.\n" * 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text(WORDS, encoding="utf-8")
    return tmp_path / "a.txt"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def dataset(place: Path, **keys: Any) -> Dataset:
    return Dataset.model_validate({"name": "mine", "source": "text", "path": str(place)} | keys)


def whole(corpus: TokenCorpus) -> str:
    return corpus.vocabulary.decode(corpus.train) + corpus.vocabulary.decode(corpus.validation)


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows by one each time a text is read."""
    seen: list[str] = []
    read = TextFile.text

    def counted(self: TextFile, folder: Path) -> str:
        seen.append(str(self.path))
        return read(self, folder)

    monkeypatch.setattr(TextFile, "text", counted)
    return seen


def test_a_corpus_is_made_once_and_found_again(file: Path, kept: Path, readings: list[str]) -> None:
    made, found = (corpus_for(dataset(file), kept) for _ in range(2))
    assert len(readings) == 1
    assert whole(made) == whole(found) == WORDS
    assert (made.fingerprint, made.provenance) == (found.fingerprint, found.provenance)
    assert made.provenance["path"] == str(file)
    assert [path.name for path in kept.iterdir()] == [corpus_path(dataset(file), kept).name]
    assert corpus_path(dataset(file), kept).name.startswith("mine-")


def test_a_changed_text_is_read_again(file: Path, kept: Path) -> None:
    before = corpus_for(dataset(file), kept)
    file.write_text(WORDS.upper(), encoding="utf-8")
    os.utime(file, ns=(1, 1))
    assert whole(corpus_for(dataset(file), kept)) == WORDS.upper()
    assert whole(before) == WORDS
    assert len(list(kept.iterdir())) == 1


def test_a_file_more_in_a_folder_is_noticed(file: Path, kept: Path, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    file.rename(folder / "a.txt")
    assert whole(corpus_for(dataset(folder), kept)) == WORDS
    (folder / "b.txt").write_text("one more", encoding="utf-8")
    assert whole(corpus_for(dataset(folder), kept)) == WORDS + "\none more"


def test_another_fraction_or_name_is_another_file_and_another_placement_is_not(file: Path, kept: Path) -> None:
    base = corpus_path(dataset(file), kept)
    assert corpus_path(dataset(file, validation_fraction=0.2), kept) != base
    assert corpus_path(dataset(file, name="yours"), kept) != base
    assert corpus_path(dataset(file.parent), kept) != base
    assert corpus_path(dataset(file, windows="epochs"), kept) == base
    assert len(corpus_for(dataset(file, validation_fraction=0.25), kept).validation) == len(WORDS) // 4


def test_a_relative_path_and_the_absolute_one_share_a_corpus(file: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert corpus_path(dataset(Path(file.name)), kept) == corpus_path(dataset(file), kept)


@pytest.mark.parametrize("content", [b"", b"not a corpus"])
def test_a_damaged_corpus_is_made_again(file: Path, kept: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    corpus_for(dataset(file), kept)
    corpus_path(dataset(file), kept).write_bytes(content)
    assert whole(corpus_for(dataset(file), kept)) == WORDS
    assert "it is prepared again" in caplog.text


def test_a_failure_leaves_what_was_there_and_no_more(file: Path, kept: Path) -> None:
    with pytest.raises(DataError):
        corpus_for(dataset(file.parent / "nothing"), kept)
    assert not kept.exists()
    corpus_for(dataset(file), kept)
    content = corpus_path(dataset(file), kept).read_bytes()
    file.write_bytes(b"broken \xff")
    with pytest.raises(DataError, match="invalid UTF-8 at byte offset 7"):
        corpus_for(dataset(file), kept)
    assert [path.read_bytes() for path in kept.iterdir()] == [content]


def test_a_text_that_is_gone_is_told_even_when_its_corpus_is_there(file: Path, kept: Path) -> None:
    corpus_for(dataset(file), kept)
    file.unlink()
    with pytest.raises(DataError, match="no such file"):
        corpus_for(dataset(file), kept)


def test_a_text_that_changes_while_it_is_read_is_read_again_next_time(file: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = TextFile.text

    def changing(self: TextFile, folder: Path) -> str:
        text = read(self, folder)
        file.write_text("quite another text", encoding="utf-8")
        return text

    with monkeypatch.context() as patch:
        patch.setattr(TextFile, "text", changing)
        assert whole(corpus_for(dataset(file), kept)) == WORDS
    assert whole(corpus_for(dataset(file), kept)) == "quite another text"


def test_several_preparers_at_once_end_with_one_whole_corpus(file: Path, kept: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        corpora = list(pool.map(lambda _: corpus_for(dataset(file), kept), range(12)))
    assert {corpus.fingerprint for corpus in corpora} == {corpora[0].fingerprint}
    assert len(list(kept.iterdir())) == 1


def test_unicode_of_many_scripts_needs_16_bits_and_survives(tmp_path: Path, kept: Path) -> None:
    text = "".join(chr(code) for start in (0x400, 0x5D0, 0x4E00, 0x1F600) for code in range(start, start + 80)).replace("\n", "") * 3
    (tmp_path / "u.txt").write_bytes(text.encode("utf-8", "ignore"))
    corpus = corpus_for(dataset(tmp_path / "u.txt"), kept)
    assert corpus.train.dtype.itemsize == 2
    assert whole(corpus) == text.encode("utf-8", "ignore").decode()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"source": "text", "path": None}, "source=text needs a path: give dataset.path=FILE"),
        ({"source": "nanogpt", "path": None}, "source=nanogpt needs a path: give dataset.path=FOLDER"),
        ({"source": "python_docs", "path": "my.txt"}, "path=my.txt would be passed over; for your own text use dataset=text"),
        ({"name": "../up"}, "a name, not a path"),
        ({"validation_fraction": 0}, "greater than 0"),
        ({"validation_fraction": 1}, "less than 1"),
        ({"source": "gutenberg"}, "'python_docs', 'text'"),
    ],
)
def test_a_section_that_makes_no_sense_is_refused_as_it_is_read(file: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        dataset(file, **keys)
    assert message in str(caught.value)


def test_the_names_of_the_sources_are_those_of_the_union() -> None:
    kinds = get_args(get_args(Source)[0])
    assert {kind.model_fields["source"].default for kind in kinds} == set(get_args(SourceName))


@pytest.mark.parametrize("name", get_args(SourceName))
def test_a_dataset_names_its_source(name: str) -> None:
    path = None if name.startswith("python_") else "/some/place"
    dataset = Dataset.model_validate({"source": name, "path": path})
    assert dataset.origin == SOURCE.validate_python({"source": name, "path": path})
    assert dataset.is_labelled == (name in ("labelled", "python_packages"))
    assert isinstance(dataset.origin, TextOrigin) == (name in ("python_docs", "text", "shakespeare_char"))
