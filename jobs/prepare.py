"""Makes the corpus of a dataset ahead of time, and says what it made."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "platform"))

from masklab.config.command_line import main  # noqa: E402

if TYPE_CHECKING:
    from masklab.config.tree import Config


def prepare(config: Config) -> None:
    """Prepare the corpus and print its sizes, fingerprint and place."""
    from masklab.config.home import home_of
    from masklab.text.preparation import corpus_for, corpus_path

    folder = home_of(PROJECT) / ".corpora"
    corpus = corpus_for(config.dataset, folder)
    rows = {
        "dataset": config.dataset.name,
        "characters": f"{len(corpus.train) + len(corpus.validation):,}",
        "vocabulary": f"{corpus.vocabulary.size} characters",
        "training": f"{len(corpus.train):,}",
        "validation": f"{len(corpus.validation):,}",
        "fingerprint": corpus.fingerprint,
        "path": str(corpus_path(config.dataset, folder)),
    }
    for name, value in rows.items():
        print(f"{name:<12} {value}")


if __name__ == "__main__":
    sys.exit(main("prepare", "Make the corpus of a dataset: read the text, split it, and keep it ready for training.", prepare, PROJECT))
