"""How much of a text was masked and filled in: made from plain text by a mask predictor, pure, and learnt like any number."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mode_batches import batch_of
from pydantic import ValidationError
from trained_run import config_for, train_into

from masklab.config.checkpoints.checkpoint_keys import with_generator
from masklab.config.jobs.evaluate import EvaluateConfig
from masklab.config.jobs.predict import PredictConfig
from masklab.config.jobs.train import Config
from masklab.corruption.random_ratio import RandomRatio
from masklab.inference.evaluate_classifier import evaluate_detector
from masklab.inference.predict import predict
from masklab.modes.examples import Examples
from masklab.modes.sequence_classifier import SequenceClassifier
from masklab.rng import RowStreams, root_key
from masklab.text.corpus import TokenCorpus
from masklab.text.preparation import corpus_for
from masklab.training.data.batch import BatchKey

STAGE = RandomRatio(min_ratio=0.0, max_ratio=1.0)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a mask predictor, `tiny`, and a regression on its texts, `ratio`."""
    home = tmp_path_factory.mktemp("home")
    (home / "text.txt").write_text("the cat sat on the mat, and the dog lay on the log. " * 60, encoding="utf-8")
    train_into(home, config_for(home / "text.txt"))
    train_into(home, ratio_config(home))
    return home


def ratio_config(home: Path) -> Config:
    mode = {"type": "sequence_classifier", "target": "masked_ratio", "generator_checkpoint": "tiny"}
    stages = {"name": "random", "stages": [{"type": "random", "max_ratio": 1.0}]}
    return with_generator(config_for(home / "text.txt", run={"name": "ratio"}, mode=mode, curriculum=stages), home)


@pytest.fixture(scope="module")
def corpus(home: Path) -> TokenCorpus:
    found = corpus_for(ratio_config(home).dataset, home / ".corpora")
    assert isinstance(found, TokenCorpus)
    return found


def test_the_label_is_the_share_of_masks_and_the_rest_of_the_text_stays(home: Path, corpus: TokenCorpus) -> None:
    mode = ratio_config(home).mode
    rows = corpus.validation_rows(mode.window(32), 40)
    streams = RowStreams.of(root_key(5), np.arange(40), 40)
    made = mode.examples(rows, STAGE, streams, corpus.vocabulary)
    masked = STAGE.draw(streams, 31).selected
    assert made.inputs.shape == (40, 32)
    assert (made.inputs[:, 0] == corpus.vocabulary.cls_id).all()
    assert (made.inputs[:, 1:] < corpus.vocabulary.size).all()
    np.testing.assert_array_equal(made.inputs[:, 1:][~masked], rows.tokens[~masked])
    assert (made.inputs[:, 1:][masked] != rows.tokens[masked]).mean() > 0.2
    np.testing.assert_allclose(made.targets[:, 0], [row.sum() / 31 for row in masked], rtol=1e-6)
    assert not made.noise_level.any(), "a network that is told the noise level would be told the answer"
    np.testing.assert_array_equal(made.selected.nonzero()[1], 0)


def test_a_row_is_the_same_in_whatever_part_of_a_batch(home: Path, corpus: TokenCorpus) -> None:
    maker = ratio_config(home).recipe.batch_maker(corpus)
    whole, part = maker.make(BatchKey(0, 3)), maker.make(BatchKey(0, 3), 1, 3)
    np.testing.assert_array_equal(whole.inputs[1:3], part.inputs)
    np.testing.assert_array_equal(whole.targets[1:3], part.targets)
    assert whole.digest == (maker.make(BatchKey(0, 3), 0, 1).digest + part.digest + maker.make(BatchKey(0, 3), 3).digest) % 2**64


def test_the_digest_of_a_batch_tells_numbers_apart(home: Path, corpus: TokenCorpus) -> None:
    from masklab.training.data.batch import digest_of

    batch = ratio_config(home).recipe.batch_maker(corpus).make(BatchKey(0, 3))
    rows = np.arange(len(batch.inputs))
    digests = {
        digest_of(batch.key, rows, batch.inputs, targets, batch.selected) for targets in (batch.targets, -batch.targets, batch.targets / 2)
    }  # type: ignore[arg-type]
    assert len(digests) == 3


def test_shares_are_told_on_their_own_scale(home: Path, corpus: TokenCorpus, capsys: pytest.CaptureFixture[str]) -> None:
    config = ratio_config(home)
    asked = {"checkpoint": "ratio", "dataset": config.dataset, "curriculum": config.curriculum, "tracking": {"enabled": False}}
    settings = {"evaluation": {"stage_sequences": 40}, "system": {"device": "cpu"}}
    assert evaluate_detector(EvaluateConfig.model_validate(asked | settings), home) == 0
    figures = json.loads((home / "runs" / "ratio" / "evaluations" / "001" / "evaluation.json").read_text())["overall"]
    assert set(figures) == {"loss", "rmse", "r_squared"}
    assert figures["rmse"] < 0.6
    assert figures["loss"] == pytest.approx(12 * figures["rmse"] ** 2, rel=1e-5)
    (home / "new.csv").write_text("text\nthe cat sat on the mat\ntqe ctt swt\n", encoding="utf-8")
    asked = {"checkpoint": "ratio", "dataset": {"path": str(home / "new.csv")}, "system": {"device": "cpu"}}
    assert predict(PredictConfig.model_validate(asked), home) == 0
    lines = (home / "runs" / "ratio" / "predictions" / "001" / "predictions.csv").read_text().splitlines()
    assert all(-1 < float(line.rsplit(",", 1)[1]) < 2 for line in lines[1:])


def test_it_learns_how_much_was_filled_in(home: Path, corpus: TokenCorpus) -> None:
    config = ratio_config(home)
    mode, vocabulary = config.mode, corpus.vocabulary
    assert isinstance(mode, SequenceClassifier)
    maker = config.recipe.batch_maker(corpus)
    batches = [maker.make(BatchKey(0, step)) for step in range(40)]
    every = Examples.joined([Examples(b.inputs, b.targets, b.selected, b.noise_level, b.coefficients) for b in batches])
    model = mode.build(config.model, vocabulary, seed=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss = mode.losses(model, batch_of(every), 0.0).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    said = mode.predictions(model.eval(), every.inputs, 64, torch.device("cpu"))[:, 0]
    assert np.corrcoef(said, every.targets[:, 0])[0, 1] > 0.8


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"target": "masked_ratio"}, "target=masked_ratio and generator_checkpoint go together"),
        ({"generator_checkpoint": "run"}, "target=masked_ratio and generator_checkpoint go together"),
        ({"target": "masked_ratio", "generator_checkpoint": "run", "class_weights": "balanced"}, "has no classes"),
    ],
)
def test_keys_that_make_no_sense_are_refused(keys: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SequenceClassifier.model_validate(keys)
