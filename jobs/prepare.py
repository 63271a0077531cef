"""Makes the corpus of a dataset ahead of time, and says what it made; or carries an older configuration over."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "platform"))

from masklab.config.command_line.main import main  # noqa: E402
from masklab.config.jobs.registry import PREPARE  # noqa: E402

if TYPE_CHECKING:
    from masklab.config.jobs.prepare import PrepareConfig

DESCRIPTION = """\
Make the corpus of a dataset: read the text, split it, and keep it ready for training.
With import=FILE: carry a configuration of nanoGPT, or a dataset's training_config.py, over to files of masklab; nothing of it is run."""


def prepare(config: PrepareConfig) -> None:
    """Prepare the corpus and print its sizes, fingerprint and place; or carry over the older configuration that is named."""
    if config.older.file is not None:
        carry_over(config.older.file, config.older.name)
        return
    from masklab.config.home import home_of
    from masklab.text.preparation import corpus_for, corpus_path

    folder = home_of(PROJECT) / ".corpora"
    corpus = corpus_for(config.dataset, folder)
    rows = {
        "dataset": config.dataset.name,
        **corpus.facts(config.training.block_size),
        "vocabulary": f"{corpus.vocabulary.size} characters",
        "training": f"{len(corpus.train):,}",
        "validation": f"{len(corpus.validation):,}",
        "fingerprint": corpus.fingerprint,
        "path": str(corpus_path(config.dataset, folder)),
    }
    for name, value in rows.items():
        print(f"{name:<12} {value}")


def carry_over(file: str, name: str | None) -> None:
    """Write the older configuration `file` as files of this project, and print what became of it."""
    from masklab.config.legacy import importer as older_import
    from masklab.config.legacy.report import table
    from masklab.io.paths import absolute_path

    print("\n".join(table(older_import.carry_over(absolute_path(file, "import"), name, PROJECT))))


if __name__ == "__main__":
    sys.exit(main("prepare", DESCRIPTION, prepare, PROJECT, tree=PREPARE))
