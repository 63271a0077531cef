"""Speed of feature extraction beside fine-tuning: the same classifier of texts on the same batches, in turn, in this process."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from masklab.cluster.benchmark import BLOCK, Block, PreloadedSource, blocks_of
from masklab.config.compose.composition import compose
from masklab.config.home import home_of
from masklab.text.labelled_corpus import LabelledCorpus
from masklab.text.preparation import corpus_for
from masklab.training.data.batch import BatchKey
from masklab.training.loop import Loop
from masklab.training.precision import Precision, pick_device
from masklab.training.settings import BUDGETS
from masklab.training.transfer_settings import TransferSettings

OVERRIDES = ("mode=sequence_classifier", "validation.sequences=16")


@dataclass(frozen=True)
class TransferSpeed:
    """Medians over the rounds, iterations a second; `ratio` is the median of the rounds' own ratios, the first over the second."""

    feature_extraction: float
    fine_tuning: float
    ratio: float
    rounds: int


def measure_transfer(project: Path, rounds: int = 9) -> TransferSpeed:
    """Let both modes of transfer run a block of steps in turn, `rounds` times; their weights are new, which makes no difference here."""
    extraction, tuning = _blocks(project, "feature_extraction", rounds), _blocks(project, "fine_tuning", rounds)
    for _ in range(2):  # the first event is the single first step, and the first block warms up
        next(extraction), next(tuning)
    pairs = [(next(extraction).steps_per_second, next(tuning).steps_per_second) for _ in range(rounds)]
    return TransferSpeed(
        feature_extraction=statistics.median(frozen for frozen, _ in pairs),
        fine_tuning=statistics.median(whole for _, whole in pairs),
        ratio=statistics.median(frozen / whole for frozen, whole in pairs),
        rounds=rounds,
    )


def _blocks(project: Path, mode: Literal["feature_extraction", "fine_tuning"], rounds: int) -> Iterator[Block]:
    config = compose(OVERRIDES, project)
    corpus = corpus_for(config.dataset, home_of(project) / ".corpora")
    assert isinstance(corpus, LabelledCorpus), "rows with labels"
    steps = BLOCK * (rounds + 2)
    training = config.training.model_copy(
        update=dict.fromkeys(BUDGETS) | {"max_iters": steps + 1, "log_interval": BLOCK, "eval_interval": 10 * steps}
    )
    recipe = replace(config.recipe, training=training, transfer=TransferSettings(init_checkpoint="none", mode=mode))
    maker = recipe.batch_maker(corpus)
    source = PreloadedSource([maker.make(BatchKey(0, step)) for step in range(steps + 1)])
    precision = Precision.of(recipe.system, pick_device(recipe.system.device))
    loop = Loop(recipe, corpus.vocabulary, recipe.pools(corpus), source, precision, labels=corpus.labels)
    return blocks_of(loop)


def transfer_table(project: Path) -> Iterator[str]:
    """The table in Markdown, line by line."""
    speed = measure_transfer(project)
    yield ""
    yield "| transfer, a classifier of texts | figure |"
    yield "|---|---|"
    yield f"| iterations/s, feature extraction | {speed.feature_extraction:.2f} |"
    yield f"| iterations/s, fine-tuning | {speed.fine_tuning:.2f} |"
    yield f"| ratio, median of {speed.rounds} rounds in turn | {speed.ratio:.2f} |"
