"""Labelled texts of the user's: four kinds of file read alike, and each mistake in one line that names its place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklab.errors import DataError
from masklab.text.dataset import Dataset
from masklab.text.labelled_corpus import LabelledCorpus
from masklab.text.preparation import corpus_for
from masklab.text.sources.table import read_columns

ROWS = [("good, really", "up"), ('a "quoted" word', "down"), ("two\nlines", "up"), ("tab\there", "down")]
WANTED = {"dataset.text_column": "text", "dataset.label_column": "label"}


def write(file: Path, rows: list[tuple[Any, Any]]) -> Path:
    """The rows as a file of the kind that its name says, with a column more."""
    import csv

    kind = file.name.removesuffix(".gz").rpartition(".")[2]
    records = [{"id": i, "label": label, "text": text} for i, (text, label) in enumerate(rows)]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(records), file)
    elif kind == "jsonl":
        file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    else:
        with file.open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, ["id", "label", "text"], delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(records)
    if file.suffix == ".gz":
        file.write_bytes(gzip.compress(file.read_bytes()))
    return file


def made(file: Path, **keys: Any) -> LabelledCorpus:
    corpus = corpus_for(Dataset.model_validate({"source": "labelled", "path": str(file)} | keys), file.parent / "kept")
    assert isinstance(corpus, LabelledCorpus)
    return corpus


def refusal(file: Path, **keys: Any) -> str:
    """The one line that reading `file` ends with; nothing is kept."""
    with pytest.raises(DataError) as caught:
        made(file, **keys)
    assert "\n" not in str(caught.value)
    assert not (file.parent / "kept").exists()
    return str(caught.value)


def text_file(folder: Path, name: str, content: str | bytes) -> Path:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet", "A.CSV.gz", "a.parquet.gz"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    file = tmp_path / name.lower()
    write(file, ROWS)
    assert [tuple(values) for _, values in read_columns(file.rename(tmp_path / name), WANTED)] == ROWS


@settings(deadline=None)
@given(rows=st.lists(st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\r\0"))] * 2), min_size=1, max_size=6))
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, kind: str, rows: list[tuple[str, str]]) -> None:
    file = write(tmp_path_factory.mktemp("rows") / f"a.{kind}", rows)
    assert [tuple(values) for _, values in read_columns(file, WANTED)] == rows


def test_quotes_in_a_tsv_are_signs_unless_they_hold_the_table_together(tmp_path: Path) -> None:
    plain = text_file(tmp_path, "a.tsv", 'text\tlabel\n"Stop\tx\n" he said\ty\n"whole ""one"""\tz\n')
    assert [values for _, values in read_columns(plain, WANTED)] == [['"Stop', "x"], ['" he said', "y"], ['whole "one"', "z"]]
    holding = text_file(tmp_path, "b.tsv", 'text\tlabel\r\n"a\tb"\tx\r\n')
    assert [values for _, values in read_columns(holding, WANTED)] == [["a\tb", "x"]]


def test_semicolons_separate_where_the_header_has_them_alone(tmp_path: Path) -> None:
    file = text_file(tmp_path, "a.csv", "text;label\nwell, well;x\n")
    assert [values for _, values in read_columns(file, WANTED)] == [["well, well", "x"]]


def test_a_row_is_named_by_the_line_where_it_begins(tmp_path: Path) -> None:
    file = text_file(tmp_path, "a.csv", 'text,label\n"one\ntwo",x\n\nthree,y\n')
    assert [place for place, _ in read_columns(file, WANTED)] == ["line 2", "line 5"]


def test_three_keys_are_enough_and_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    body = "".join(f"{'nice' if i % 2 else 'poor'} thing {i}\t{'yes' if i % 2 else 'no'}\n" for i in range(40))
    corpus = made(text_file(tmp_path, "a.tsv", b"\xef\xbb\xbfreview\tliked\n" + body.encode()), text_column="review", label_column="liked")
    assert corpus.labels.names == ("no", "yes")
    assert (len(corpus.train), len(corpus.validation)) == (36, 4)
    assert corpus.provenance["text_column"] == "review"


def test_a_changed_file_other_columns_or_another_count_are_another_corpus(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", [(f"text {i}", "xy"[i % 2]) for i in range(40)])
    whole = made(file)
    assert len(made(file, max_rows=10).train) == 10
    assert made(file).fingerprint == whole.fingerprint
    write(file, [(f"text {i}", "xy"[i % 2]) for i in range(60)])
    assert len(made(file).train) == 54


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,lable\nx,y\n", "dataset.label_column=label: no such column (did you mean 'lable'?); there are 'text', 'lable'"),
        ("a.jsonl", '{"text": "x", "mark": 1}\n', "dataset.label_column=label: no such column; there are 'text', 'mark'"),
        ("a.csv", "text,label,text\nx,y,z\n", "the column 'text' occurs 2 times"),
        ("a.jsonl", '{"text": "x", "label": 1, "label": 2}\n', "the column 'label' occurs 2 times"),
        ("a.csv", "text,label\nx,y\na,b,c\n", "line 3 has 3 fields and the header 2"),
        ("a.tsv", "text\tlabel\nx\ty\nz\n", "line 3 has 1 fields and the header 2"),
        ("a.csv", 'text,label\n"left open,y\n', "line 2: cannot be read (unexpected end of data)"),
        ("a.csv", f"text,label\nshort,y\n{'x' * (1 << 24)}x,y\n", "line 3: cannot be read (field larger than field limit (16777216))"),
        ("a.csv", b"text,label\nx,\xff\n", "invalid UTF-8 at byte offset 13 (0xFF)"),
        ("a.csv", "text,label\nx,y\n".encode("utf-16"), "invalid UTF-8 at byte offset 0 (0xFF)"),
        ("a.csv", "", "the file is empty"),
        ("a.jsonl", "\n", "the file is empty"),
        ("a.jsonl", '{"text": "x", "label": 1}\n{"text": \n', "line 2 is not JSON"),
        ("a.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("a.jsonl", '["x", 1]\n', "line 1 is ['x', 1], not an object"),
        ("a.jsonl", '{"text": "x", "label": 1}\n{"text": "x", "label": "\\udc00"}\n', "line 2 has half of a surrogate pair"),
        ("a.parquet", "no table", "cannot be read as Parquet"),
        ("a.csv.gz", "no gzip", "damaged or not compressed with gzip"),
        ("a.txt", "text,label\n", "the name must end in .csv, .tsv, .jsonl"),
        ("a.csv", "text,label\n", "no row can be used: 0 read"),
        ("a.csv", "text,label\nx,\n ,y\n,\n", "no row can be used: 3 read, 2 without text, 1 without label"),
        ("a.csv", "text,label\na,y\nb,y\n", "all 2 rows are labelled 'y'"),
        ("a.csv", "text,label\na,y\nb,y\nc,z\n", "of 2 classes 1 have one row only: 'z' (line 4)"),
        ("a.csv", "text,label\na,1.5\nb,2.5\n", "'1.5' (line 2), '2.5' (line 3); each needs one to train on and one held out: "
         "add rows or take these out; for numbers give dataset.label_type=number"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": 5, "label": 1}\n', "line 2: the text column holds 5, not a string"),
        ("a.jsonl", '{"text": "a", "label": [1]}\n', "line 1: the label [1] is not the name of a class; for a label of each character"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_clear_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    file = text_file(tmp_path, name, content)
    said = refusal(file)
    assert message in said
    assert str(file) in said


@pytest.mark.parametrize(
    ("label_type", "rows", "message"),
    [
        ("number", [("a", "1"), ("b", "two")], "line 3: the label 'two' is not a number; for classes give dataset.label_type=class"),
        ("number", [("a", "1"), ("b", "1e400")], "line 3: the label '1e400' is not finite"),
        ("number", [("a", "1"), ("b", "1e39")], "line 3: the label '1e39' is not finite"),
        ("number", [("a", "7"), ("b", "7"), ("c", "7")], "every training row is labelled 7"),
        ("number", [("a", "1000000000.1"), ("b", "1000000000.2"), ("c", "1000000000.3")], "every training row is labelled 1e+09"),
        ("number", [("a", "7")], "one row only"),
        ("per_token", [("abc", "x y z w")], "line 2: the label 'x y z w' has 7 labels for 3 characters"),
        ("per_token", [("abc", "x y z"), ("ab", "x")], "line 3: the label 'x' has 1 labels for 2 characters"),
        ("per_token", [("ab", "xx"), ("cd", "xx")], "every character is labelled 'x'"),
    ],
)
def test_labels_of_another_type_are_refused_with_their_place_and_value(
    tmp_path: Path, label_type: str, rows: list[tuple[str, str]], message: str
) -> None:
    assert message in refusal(write(tmp_path / "a.csv", rows), label_type=label_type)


def test_a_label_of_tokens_that_only_held_out_rows_have_is_refused(tmp_path: Path) -> None:
    rows = [(f"ab{i}", ["x", "y", "z" + str(i)]) for i in range(9)]
    assert "is in rows that are held out and in none to train on" in refusal(write(tmp_path / "a.jsonl", rows), label_type="per_token")


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "no such file or folder" in refusal(tmp_path / "a.csv")
    (tmp_path / "b.csv").mkdir()
    assert "the folder holds no files" in refusal(tmp_path / "b.csv")
    text_file(tmp_path / "b.csv", "x", "x")
    assert "is not a file; correct dataset.path" in refusal(tmp_path / "b.csv")


def test_many_columns_are_not_all_named(tmp_path: Path) -> None:
    said = refusal(text_file(tmp_path, "a.csv", ",".join(f"{'c' * 50}{i}" for i in range(60)) + "\n"))
    assert "and 40 more" in said
    assert len(said) < 1200


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"source": "labelled"}, "source=labelled needs a path: give dataset.path=FILE"),
        ({"source": "text", "path": "a.txt", "label_column": "x"}, "label_column=x goes with source=labelled, not with text"),
        ({"source": "python_packages", "label_type": "number"}, "label_type=number goes with source=labelled, not with python_packages"),
        ({"source": "python_packages", "path": "a.csv"}, "path=a.csv would be passed over; for your own use dataset=labelled"),
        ({"source": "labelled", "path": "a.csv", "text_column": "x", "label_column": "x"}, "text_column and label_column are both x"),
        ({"source": "python_docs", "max_rows": 5}, "max_rows=5 counts labelled rows"),
        ({"source": "labelled", "path": "a.csv", "windows": "epochs"}, "rows with labels are read whole"),
        ({"source": "labelled", "path": "a.csv", "label_type": "tag"}, "'class', 'number' or 'per_token'"),
        ({"source": "labelled", "path": "a.csv", "max_rows": 0}, "greater than or equal to 1"),
    ],
)
def test_keys_that_make_no_sense_are_refused_as_they_are_read(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Dataset.model_validate(keys)
    assert message in str(caught.value)
