"""Prepare the corpus of a dataset, or import an older configuration: python jobs/prepare.py [dataset=NAME] [import=FILE]."""

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
With import=FILE: import a configuration of nanoGPT, or a dataset's training_config.py; the file is parsed, never executed."""


def prepare(config: PrepareConfig) -> None:
    """Prepare the corpus and print its sizes, fingerprint and path; or import the older configuration that is named."""
    if config.older.file is not None:
        import_older(config.older.file, config.older.name)
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


def import_older(file: str, name: str | None) -> None:
    """Write the older configuration `file` as files of this project, and print what was imported."""
    from masklab.config.legacy.importer import import_config, table
    from masklab.io.paths import absolute_path

    print("\n".join(table(import_config(absolute_path(file, "import"), name, PROJECT))))


if __name__ == "__main__":
    sys.exit(main("prepare", DESCRIPTION, prepare, PROJECT, tree=PREPARE))
