"""Which modes the jobs take, and the sampler that comes with each."""

from __future__ import annotations

from pathlib import Path

import pytest

from masklab.config.compose.composition import compose, compose_tree
from masklab.config.compose.yaml_io import dump, load
from masklab.config.jobs.registry import COMPARE, TUNE, JobTree
from masklab.config.jobs.tune import TuneConfig
from masklab.errors import ConfigError

BUDGET = ["compare.curricula=[sticky]", "compare.budget.max_chars=1000"]


@pytest.mark.parametrize(("mode", "sampler"), [("language_model", "autoregressive"), ("token_classifier", "stochastic")])
def test_the_sampler_of_a_mode_is_written_down(root: Path, tmp_path: Path, mode: str, sampler: str) -> None:
    config = compose([f"mode={mode}"], root)
    assert config.sampling.sampler.strategy == sampler
    (tmp_path / "config.yaml").write_text(dump(config))
    assert load(tmp_path / "config.yaml") == config


@pytest.mark.parametrize("override", ["sampling.stride=3", "sampling.cache=false", "sampling.strategy=autoregressive"])
def test_a_key_of_the_sampler_stands_for_it(root: Path, override: str) -> None:
    assert compose(["mode=language_model", override], root).sampling.sampler.strategy == "autoregressive"
    with pytest.raises(ConfigError, match="writes with a language model, and this model fills masks"):
        compose([override], root)


@pytest.mark.parametrize("override", ["sampling.strategy=confidence", "sampling.steps=8"])
def test_a_language_model_has_no_sampler_that_fills_masks(root: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="fills masks, and a language model writes from left to right"):
        compose(["mode=language_model", override], root)


def test_the_experiment_has_nanogpts_sizes(root: Path) -> None:
    config = compose(["+experiment=shakespeare_char_cpu"], root)
    assert (config.mode.type, config.curriculum.name, config.dataset.name) == ("language_model", "none", "shakespeare_char")
    assert (config.model.n_layer, config.model.n_head, config.model.n_embd, config.model.dropout) == (4, 4, 128, 0.0)
    training = config.training
    assert (training.block_size, training.batch_size, training.max_iters, training.learning_rate) == (64, 12, 2000, 1e-3)
    assert (training.min_lr, training.warmup_iters, training.beta2) == (1e-4, 100, 0.99)


def test_a_sweep_takes_the_modes_that_have_a_likelihood(root: Path) -> None:
    for mode in ("language_model", "token_classifier"):
        config = compose_tree(TUNE, [f"mode={mode}", "sweep=learning_rate"], root)
        assert isinstance(config, TuneConfig) and config.mode.yardstick is not None


@pytest.mark.parametrize(
    ("tree", "overrides", "words"),
    [
        (TUNE, ["mode=sequence_classifier", "sweep=learning_rate"], "has no likelihood, and trials are ranked by it"),
        (COMPARE, ["mode=language_model", *BUDGET], "mode: language_model does not fill masks"),
        (COMPARE, ["mode=sequence_classifier", *BUDGET], "mode: sequence_classifier does not fill masks"),
    ],
    ids=str,
)
def test_a_mode_that_a_job_has_no_use_for_is_one_line(root: Path, tree: JobTree, overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        compose_tree(tree, overrides, root)
    assert "\n" not in str(caught.value)


NUMBERS = ("mode=sequence_classifier", "dataset=labelled", "dataset.path=x.csv", "dataset.label_type=number")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((*NUMBERS, "objective.label_smoothing=0.1"), "objective.label_smoothing = 0.1: spreads a target over classes"),
        ((*NUMBERS, "mode.class_weights=balanced"), "mode.class_weights = balanced: weighs classes"),
        (
            ("mode=masked_ratio", "mode.generator_checkpoint=x", "objective.label_smoothing=0.1"),
            "objective.label_smoothing = 0.1: spreads a target over classes",
        ),
        (("mode=masked_ratio", "mode.generator_checkpoint=x", "training.block_size=1"), "training.block_size = 1"),
        (
            ("mode=language_model", "objective.normalisation=per_sequence"),
            "objective.normalisation = per_sequence: weighs sequences by their number of masks",
        ),
        (
            ("mode=replaced_token_detector", "objective.normalisation=per_token"),
            "objective.normalisation = per_token: weighs sequences by their number of masks",
        ),
        (
            ("mode=sequence_classifier", "objective.normalisation=per_token"),
            "objective.normalisation = per_token: weighs sequences by their number of masks",
        ),
    ],
)
def test_a_key_that_a_mode_has_no_use_for_is_one_line(root: Path, overrides: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(list(overrides), root)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_of_characters_may_be_averaged_by_sequence(root: Path) -> None:
    overrides = ["mode=token_labeller", "dataset=labelled", "dataset.path=x.csv", "dataset.label_type=per_token"]
    assert compose([*overrides, "objective.normalisation=per_sequence"], root).objective.normalisation == "per_sequence"
