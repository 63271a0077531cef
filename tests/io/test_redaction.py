"""Secrets are left out of words, and words that are none are left as they are."""

from __future__ import annotations

import pytest

from masklab.io.redaction import HIDDEN, redact


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("postgresql://db/mlflow", "postgresql://db/mlflow"),
        ("postgresql+psycopg2://db/postgres", f"postgresql+psycopg2://db/{HIDDEN}"),
        ("the password is postgres.", f"the password is {HIDDEN}."),
        ("s3cret-and-more", f"{HIDDEN}-and-more"),
        ("xs3crety", f"x{HIDDEN}y"),
    ],
)
def test_a_secret_of_letters_is_hidden_as_a_word_and_any_other_wherever_it_stands(
    words: str, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "postgres")
    monkeypatch.setenv("SOME_TOKEN", "s3cret")
    assert redact(words) == left


@pytest.mark.parametrize(
    "place", ["sqlite:////home/me@lab/mlflow.db", "file:///home/me@lab/runs", "/data/a@b.txt", "see http://a:80/x, me@b"]
)
def test_an_address_without_a_user_keeps_its_signs(place: str) -> None:
    assert redact(place) == place
