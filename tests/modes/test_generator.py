"""Samples of a mask predictor as what a detector has to find: drawn from its probabilities, the same in whatever part of a batch."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from trained_run import config_for, forge, newest, train_into

from masklab.config.checkpoints.checkpoint_keys import with_generator
from masklab.config.compose.yaml_io import dump
from masklab.config.jobs.train import Config
from masklab.corruption.random_ratio import RandomRatio
from masklab.errors import CheckpointError, ConfigError, RunError
from masklab.model.config import ModelConfig
from masklab.model.transformer import Transformer
from masklab.modes.generator import Generator, generator_at
from masklab.modes.replaced_token_detector import ReplacedTokenDetector
from masklab.rng import RowStreams, root_key
from masklab.text.preparation import corpus_for
from masklab.text.rows import Rows
from masklab.text.vocabulary import Vocabulary
from masklab.training.checkpoint.manifest import sha256_of
from masklab.training.data.batch import BatchKey
from masklab.training.run_folder import RunFolder

HALF = RandomRatio(min_ratio=0.5, max_ratio=0.5)
TEXT = "the cat sat on the mat, and the dog lay on the log. " * 60


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one trained mask predictor, `tiny`."""
    home = tmp_path_factory.mktemp("home")
    (home / "text.txt").write_text(TEXT, encoding="utf-8")
    train_into(home, config_for(home / "text.txt"))
    return home


def detector_config(home: Path, generator: str, **sections: dict[str, object]) -> Config:
    mode = {"type": "replaced_token_detector", "replacement": "generator", "generator_checkpoint": generator}
    return config_for(home / "text.txt", **{"run": {"name": "detector"}, "mode": mode} | sections)


def test_a_character_is_drawn_by_the_networks_own_probabilities() -> None:
    vocabulary = Vocabulary(tuple("abcd"))
    model = Transformer(ModelConfig(n_layer=1, n_head=1, n_embd=8), 4, vocabulary.extended_size, seed=2)
    row = np.array([0, vocabulary.mask_id, 2, vocabulary.mask_id, 1], np.uint8)
    with torch.no_grad():
        expected = model(torch.from_numpy(row.astype(np.int64))[None])[0].double().softmax(-1).numpy()
    count = 6000
    keys = np.random.default_rng(0).integers(0, 2**63, count).astype(np.uint64)
    filled = Generator(Path("here"), model, vocabulary, 5).fill(np.tile(row, (count, 1)), keys)
    for t in (0, 2, 4):
        assert (filled[:, t] == row[t]).all()
    for t in (1, 3):
        seen = np.bincount(filled[:, t], minlength=4)
        assert ((seen - count * expected[t]) ** 2 / (count * expected[t])).sum() < 16.3  # chi squared, 3 degrees, p = 0.001
    joint = np.bincount(filled[:, 1].astype(int) * 4 + filled[:, 3], minlength=16)
    product = count * np.outer(expected[1], expected[3]).ravel()
    assert ((joint - product) ** 2 / product).sum() < 37.7  # 15 degrees: the two are drawn independently


def test_examples_are_the_same_in_any_part_of_a_batch_and_with_any_number_of_threads(home: Path) -> None:
    config = with_generator(detector_config(home, "tiny"), home)
    corpus = corpus_for(config.dataset, home / ".corpora")
    maker = config.recipe.batch_maker(corpus)
    whole = maker.make(BatchKey(1, 3))
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    try:
        parts = [maker.make(BatchKey(1, 3), first, last) for first, last in ((0, 1), (1, 4))]
        assert torch.get_num_threads() == 3 - min(threads, 2)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(whole.inputs, np.concatenate([part.inputs for part in parts]))
    np.testing.assert_array_equal(whole.targets, np.concatenate([part.targets for part in parts]))
    assert whole.digest == sum(part.digest for part in parts) % 2**64
    assert whole.targets.any()
    assert whole.inputs.max() < corpus.vocabulary.size


def test_what_the_generator_gets_right_counts_as_original(home: Path) -> None:
    config = with_generator(detector_config(home, "tiny"), home)
    corpus = corpus_for(config.dataset, home / ".corpora")
    rows = Rows(np.stack([corpus.train[i : i + 32] for i in range(16)]))
    streams = RowStreams.of(root_key(0), np.arange(16), 16)
    made = config.mode.examples(rows, HALF, streams, corpus.vocabulary)
    chosen = HALF.draw(streams, 32).selected
    np.testing.assert_array_equal(made.targets, made.inputs != rows.tokens)
    assert (chosen & (made.targets == 0)).sum() > 0.02 * chosen.sum()
    assert not made.targets[~chosen].any()


def test_a_run_keeps_to_the_checkpoint_that_it_was_begun_with(home: Path) -> None:
    config = with_generator(detector_config(home, "tiny"), home)
    assert isinstance(config.mode, ReplacedTokenDetector)
    path = Path(str(config.mode.generator_checkpoint))
    assert path == newest(RunFolder(home / "runs/tiny"))
    assert with_generator(config, home) == config
    other = config.model_copy(update={"mode": config.mode.model_copy(update={"generator_digest": "0" * 64})})
    with pytest.raises(CheckpointError, match=r"weights are not those of mode\.generator_digest"):
        with_generator(other, home)
    with pytest.raises(CheckpointError, match="not what the run was begun with"):
        generator_at(str(path), "0" * 64)
    plain = config_for(home / "text.txt")
    assert with_generator(plain, home) is plain


@pytest.mark.parametrize("reference", ["tiny", "{home}/runs/tiny"])
def test_the_same_command_keeps_to_it_though_its_run_goes_on(home: Path, tmp_path: Path, reference: str) -> None:
    shutil.copytree(home, tmp_path / "home")
    home = tmp_path / "home"
    asked = detector_config(home, reference.format(home=home))
    begun = with_generator(asked, home)
    RunFolder(home / "runs" / "detector").begin(dump(begun))
    first = newest(RunFolder(home / "runs" / "tiny"))
    later = first.with_name("step_000000030")
    shutil.copytree(first, later)
    assert with_generator(asked, home) == begun
    for config in (detector_config(home, "tiny", run={"name": "other"}), detector_config(home, str(later))):
        assert with_generator(config, home).mode.generator_checkpoint == str(later)  # type: ignore[union-attr]


def test_a_generator_that_does_not_fit_is_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("0123456789 " * 200, encoding="utf-8")
    config = with_generator(detector_config(home, "tiny"), home)
    strange = detector_config(home, str(config.mode.generator_checkpoint)).model_copy(
        update={"dataset": config_for(tmp_path / "text.txt").dataset}
    )
    with pytest.raises(CheckpointError, match="characters that are not the 11 of this text"):
        strange.recipe.pools(corpus_for(strange.dataset, tmp_path / ".corpora"))
    long = detector_config(home, "tiny", training={"block_size": 64})
    long = with_generator(long, home)
    with pytest.raises(CheckpointError, match=r"blocks of 32 characters, fewer than training\.block_size = 64"):
        long.recipe.pools(corpus_for(long.dataset, home / ".corpora"))


def test_what_is_no_mask_predictor_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^mode\.generator_checkpoint: 'nowhere': no such run"):
        with_generator(detector_config(home, "nowhere"), home)
    run = train_into(
        home, config_for(home / "text.txt", run={"name": "detector"}, mode={"type": "replaced_token_detector"}, training={"max_iters": 2})
    )
    with pytest.raises(CheckpointError, match="replaced_token_detector, which fills no masks"):
        with_generator(detector_config(home, run.path.name), home)
    with pytest.raises(CheckpointError, match="cannot be read as the checkpoint of a mask predictor"):
        generator_at(str(tmp_path), None)
    broken = tmp_path / "broken"
    shutil.copytree(newest(RunFolder(home / "runs/tiny")), broken)
    (broken / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="cannot be read as the checkpoint of a mask predictor"):
        generator_at(str(broken), None)
    tensors = load_file(newest(RunFolder(home / "runs/tiny")) / "model.safetensors")
    save_file(tensors | {"final_norm.norm.weight": torch.full((32,), torch.nan)}, broken / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"final_norm\.norm\.weight holds NaN or infinity"):
        generator_at(str(broken), sha256_of(broken / "model.safetensors"))
    with pytest.raises(CheckpointError, match=r"altered|bytes"):
        with_generator(detector_config(home, str(broken)), home)
    untrained = tmp_path / "untrained"
    shutil.copytree(newest(RunFolder(home / "runs/tiny")), untrained)
    forge(untrained, state_json='{"iteration": 0}')
    with pytest.raises(CheckpointError, match="is untrained"):
        with_generator(detector_config(home, str(untrained)), home)


def test_a_generator_and_its_replacement_go_together(home: Path) -> None:
    for mode in ({"replacement": "generator"}, {"generator_checkpoint": "tiny"}):
        with pytest.raises(ConfigError, match="replacement=generator and generator_checkpoint go together"):
            config_for(home / "text.txt", mode={"type": "replaced_token_detector"} | mode)


def test_a_stage_that_masks_nothing_is_refused(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"stages\.0\.type = none: mode replaced_token_detector learns from masks"):
        config_for(home / "text.txt", mode={"type": "replaced_token_detector"}, curriculum={"stages": [{"type": "none"}]})
