"""Every older name is handled, and the document says of each what the code does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from legacy_files import PROJECT, STAGES, carried, composed, copied_project, left, value_at

from masklab.config.compose.aliases import STAGE_KEYS
from masklab.config.compose.composition import compose
from masklab.config.jobs.train import Config
from masklab.config.legacy.names import GONE, READ, RENAMED, STAGE_LISTS
from masklab.config.legacy.python_literals import read_assignments


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return copied_project(tmp_path)


READINGS: dict[str, list[tuple[Any, dict[str, Any]]]] = {
    "dataset": [("python_docs", {"dataset.name": "python_docs"}), ("a", {"dataset.path": "data/a", "dataset.source": "nanogpt"})],
    "out_dir": [("runs/out-a", {"run.name": "out-a"}), ("out b", {}), (3, {})],
    "eval_iters": [(3, {"validation.sequences": 3 * 16}), (1.5, {})],
    "warmup_iters": [(7, {"training.warmup_iters": 7})],
    "lr_decay_iters": [(700, {"training.lr_decay_iters": 700}), (7, {})],
    "min_lr": [(1e-5, {"training.min_lr": 1e-5}), (1.0, {})],
    "decay_lr": [(True, {"training.min_lr": None}), (False, {"training.min_lr": 3e-3, "training.warmup_iters": 0}), ("no", {})],
    "device": [("cuda:3", {"system.device": "cuda"}), ("mps", {"system.device": "mps"}), ("tpu", {})],
    "init_from": [("scratch", {}), ("resume", {}), ("gpt2-xl", {})],
    "always_save_checkpoint": [(True, {}), (False, {})],
    "eval_only": [(False, {}), (True, {})],
    "use_rope": [(True, {}), (False, {})],
    "start": [("ab", {"sampling.prompt": "ab"}), ("FILE:a", {"sampling.prompt": ""})],
    "max_new_tokens": [(12, {"sampling.length": 12}), ("many", {})],
    "use_paragraph_boundaries": [(True, {"dataset.windows": "paragraphs"}), (False, {"dataset.windows": "anywhere"}), (3, {})],
    "use_all_stages_for_training": [(True, {"curriculum.mixing": "all"}), (False, {"curriculum.mixing": "current"})],
    "weight_loss_by_mask_ratio": [(True, {"objective.weighting": "inverse_sqrt_mask_ratio"}), (False, {"objective.weighting": "none"})],
    "training_type": [("unmasking", {"mode.type": "token_classifier"}), ("other", {})],
    "model_mode": [("token_classifier", {"mode.type": "token_classifier"}), ("other", {}), (["x"], {})],
    "attention_type": [("bidirectional", {"mode.type": "token_classifier"}), ("other", {})],
    "switch_to_binary": [(False, {"mode.type": "token_classifier"}), ("yes", {})],
    "transfer_learning_mode": [("from_scratch", {}), ("fine_tuning", {})],
    "freeze_transformer": [(False, {}), (True, {})],
    "pretrained_checkpoint_path": [(None, {}), ("", {})],
    "init_from_checkpoint": [("", {}), (3, {})],
}


@pytest.mark.parametrize("name", READ)
def test_every_value_that_is_read_in_another_way(name: str, root: Path) -> None:
    assert READINGS[name]
    for value, expected in READINGS[name]:
        file = root / "jobs/conf/experiment/older.yaml"
        file.unlink(missing_ok=True)
        config = composed(
            root,
            f"log_interval = 3\nunfreeze = 0\n{name} = {value!r}\n"
            + (STAGES if {"mode.type", "objective.weighting"} & expected.keys() else ""),
        )
        (root / "curricula/older.yaml").unlink(missing_ok=True)
        assert {key: value_at(config, key) for key in expected} == expected, (name, value)
        assert config.training.log_interval == 3


@pytest.mark.parametrize("name", RENAMED)
def test_every_renamed_parameter_is_carried_over_or_refused_by_its_section(name: str, root: Path) -> None:
    default = value_at(compose([], root), RENAMED[name]) if RENAMED[name].split(".")[0] not in ("mode", "transfer") else None
    value = {bool: not default, str: "float32", float: 0.25, int: (default or 0) * 2}.get(type(default), 4)
    carriage = carried(root, f"n_layer = 2\n{name} = {value!r}" if name != "n_layer" else f"{name} = {value!r}")
    if name in left(carriage):
        assert RENAMED[name].split(".")[0] in left(carriage)[name]
        assert RENAMED[name].startswith(("mode.", "transfer."))
    else:
        assert value_at(compose(["+experiment=older"], root), RENAMED[name]) == value


@pytest.mark.parametrize("name", GONE)
def test_every_name_without_a_counterpart_says_why(name: str, root: Path) -> None:
    assert left(carried(root, f"log_interval = 3\n{name} = 1"))[name] == GONE[name]


def documented() -> list[list[str]]:
    """The rows of all tables of the document, cell by cell."""
    lines = (PROJECT / "docs/older-configs.md").read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def expected_rows() -> list[list[str]]:
    """What the document's tables of parameters must say."""

    def keys(names: tuple[str, ...]) -> str:
        return ", ".join(f"`{name}`" for name in names) or "–"

    return [
        *([f"`{name}`", f"`{key}`"] for name, key in RENAMED.items()),
        *([f"`{name}`", keys(reading.keys), reading.note] for name, reading in READ.items()),
        *([f"`{name}`", f"`{key}`"] for name, key in (STAGE_LISTS | STAGE_KEYS).items()),
        *([f"`{name}`", reason] for name, reason in GONE.items()),
    ]


def test_the_document_has_every_older_name_and_no_other() -> None:
    rows = documented()
    expected = expected_rows()
    assert [row for row in expected if row not in rows] == []
    first = next(i for i, row in enumerate(rows) if row == expected[0])
    names = [row[0] for row in rows[first : first + len(expected) + 3 * 2] if row[0].startswith("`")]
    assert names == [row[0] for row in expected]


def test_the_keys_that_the_document_names_are_there() -> None:
    config = yaml.safe_dump(Config.model_json_schema())
    for key in {key for reading in READ.values() for key in reading.keys} | set(RENAMED.values()) | set(STAGE_LISTS.values()):
        section, _, field = key.partition(".")
        if section not in ("mode", "transfer"):
            assert section in Config.model_fields
            assert not field or f" {field}:" in config, key


def test_the_defaults_of_nanogpt_are_all_known(tmp_path: Path) -> None:
    file = tmp_path / "names.py"
    names = (
        "out_dir eval_interval log_interval eval_iters eval_only always_save_checkpoint init_from wandb_log wandb_project wandb_run_name"
    )
    names += " dataset gradient_accumulation_steps batch_size block_size n_layer n_head n_embd dropout bias learning_rate max_iters"
    names += " weight_decay beta1 beta2 grad_clip decay_lr warmup_iters lr_decay_iters min_lr backend device dtype compile"
    names += " start num_samples max_new_tokens temperature top_k seed"
    file.write_text("\n".join(f"{name} = 1" for name in names.split()), encoding="utf-8")
    assert read_assignments(file).values.keys() <= {*RENAMED, *READ, *GONE}
