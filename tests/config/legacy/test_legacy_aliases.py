"""Configurations in the older spelling load unchanged, and are written back under today's names."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from masklab.config.compose.aliases import modern
from masklab.config.compose.composition import compose
from masklab.config.compose.yaml_io import dump, validated
from masklab.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[3]

OLD = """
dataset: {source: python_docs, use_paragraph_boundaries: true}
curriculum:
  stages:
    - {type: random, max_masked_ratio: 0.3, val_loss_stale_count: 5}
    - {type: sticky, target_masked_ratio: 0.4, p1_probability: 0.2, p2_probability: 0.8, val_loss_stale_count: 6}
  validation_stages:
    - {type: sticky, target_masked_ratio: 0.5, p1_probability: 0.1, p2_probability: 0.9, val_loss_stale_count: 1}
"""
NEW = """
dataset: {source: python_docs, windows: paragraphs}
curriculum:
  stages:
    - {type: random, max_ratio: 0.3, patience: 5}
    - {type: sticky, mask_ratio: 0.4, p_start: 0.2, p_extend: 0.8, patience: 6}
  validation_stages:
    - {type: sticky, mask_ratio: 0.5, p_start: 0.1, p_extend: 0.9, patience: 1}
"""


def test_an_older_file_means_what_todays_means_and_is_written_as_such() -> None:
    old = validated(yaml.safe_load(OLD))
    assert old == validated(yaml.safe_load(NEW))
    written = dump(old)
    assert not any(word in written for word in ("masked_ratio", "p1_", "p2_", "stale_count", "paragraph_boundaries"))


def test_translation_leaves_its_input_as_it_was_and_is_idempotent() -> None:
    tree = yaml.safe_load(OLD)
    once = modern(tree)
    assert tree == yaml.safe_load(OLD)
    assert modern(once) == once == yaml.safe_load(NEW)


def test_overrides_may_use_either_spelling_over_files_of_the_other() -> None:
    config = compose(["curriculum.stages.1.target_masked_ratio=0.45", "curriculum.stages.1.val_loss_stale_count=9"], PROJECT)
    assert config.curriculum.stages[1].model_dump()["mask_ratio"] == 0.45
    assert config.curriculum.stages[1].patience == 9
    assert compose(["dataset.use_paragraph_boundaries=true"], PROJECT).dataset.windows == "paragraphs"
    assert compose(["dataset.use_paragraph_boundaries=false"], PROJECT).dataset.windows == "anywhere"


@pytest.mark.parametrize(
    "overrides",
    [
        ["curriculum.stages=[{type: sticky, target_masked_ratio: 0.2, mask_ratio: 0.3, p_start: 0.1, p_extend: 0.1}]"],
        ["curriculum.stages.1.target_masked_ratio=0.2", "curriculum.stages.1.mask_ratio=0.3"],
    ],
)
def test_both_spellings_with_different_values_are_refused_by_name(overrides: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"target_masked_ratio=0\.2 and mask_ratio=0\.3 are two spellings"):
        compose(overrides, PROJECT)


def test_both_spellings_with_one_value_are_accepted() -> None:
    stage = "{type: sticky, target_masked_ratio: 0.3, mask_ratio: 0.3, p_start: 0.1, p_extend: 0.1}"
    assert compose([f"curriculum.stages=[{stage}]"], PROJECT).curriculum.stages[0].model_dump()["mask_ratio"] == 0.3


def test_paragraph_switch_and_windows_that_disagree_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="windows=anywhere and use_paragraph_boundaries=True"):
        validated(yaml.safe_load(OLD.replace("use_paragraph", "windows: anywhere, use_paragraph")) | {"x": 1})


def test_a_paragraph_switch_that_is_no_switch_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be true or false"):
        compose(["dataset.use_paragraph_boundaries=maybe"], PROJECT)


@pytest.mark.parametrize("older", [{"switch_to_binary": True}, {"type": "binary_classification"}, {"type": "replaced_token_detector"}])
def test_the_older_names_of_the_detector_are_read(older: dict[str, object]) -> None:
    config = validated(yaml.safe_load(NEW) | {"mode": older})
    assert config.mode.type == "replaced_token_detector"
    assert "switch_to_binary" not in dump(config)
    assert compose(["mode.switch_to_binary=true"], PROJECT).mode.type == "replaced_token_detector"
    assert compose(["mode.type=binary_classification"], PROJECT).mode.type == "replaced_token_detector"


def test_a_switch_to_binary_that_is_none_is_refused() -> None:
    assert validated(yaml.safe_load(NEW) | {"mode": {"switch_to_binary": False}}).mode.type == "token_classifier"
    with pytest.raises(ConfigError, match=r"mode\.switch_to_binary = 3: must be true or false"):
        validated(yaml.safe_load(NEW) | {"mode": {"switch_to_binary": 3}})


def test_a_token_classifier_with_classes_of_its_own_is_the_labeller_of_tokens_where_these_have_labels() -> None:
    labels = {"dataset": {"label_type": "per_token"}}
    assert modern({"mode": {"type": "token_classifier", "num_classes": 3}} | labels)["mode"] == {"type": "token_labeller", "num_classes": 3}
    assert modern({"mode": {"num_classes": 3}} | labels)["mode"]["type"] == "token_labeller"
    assert modern({"mode": {"num_classes": 3}})["mode"] == {"num_classes": 3}
    assert modern({"mode": {"type": "token_classifier"}} | labels)["mode"] == {"type": "token_classifier"}
