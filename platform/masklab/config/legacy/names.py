"""The parameters of nanoGPT, and of masked-training programs made from it: today's keys, and how their values are converted.

Names are compared without regard to case: a dataset's own file writes `BLOCK_SIZE` where a configuration writes `block_size`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from masklab.config.compose.aliases import BINARY, MODES, PARAGRAPHS, STAGE_KEYS
from masklab.errors import did_you_mean
from masklab.training.settings import TrainingSettings

RENAMED = {
    "batch_size": "training.batch_size",
    "gradient_accumulation_steps": "training.gradient_accumulation_steps",
    "block_size": "training.block_size",
    "learning_rate": "training.learning_rate",
    "max_iters": "training.max_iters",
    "weight_decay": "training.weight_decay",
    "beta1": "training.beta1",
    "beta2": "training.beta2",
    "grad_clip": "training.grad_clip",
    "eval_interval": "training.eval_interval",
    "log_interval": "training.log_interval",
    "n_layer": "model.n_layer",
    "n_head": "model.n_head",
    "n_embd": "model.n_embd",
    "dropout": "model.dropout",
    "bias": "model.bias",
    "seed": "run.seed",
    "dtype": "system.dtype",
    "compile": "system.compile",
    "num_samples": "sampling.num_samples",
    "temperature": "sampling.temperature",
    "top_k": "sampling.top_k",
    "val_loss_stale_count": "curriculum.patience",
    "validation_samples_per_stage": "validation.sequences",
    "validation_batch_size": "validation.batch_size",
    "uncertainty_factor": "objective.label_smoothing",
    "num_token_classes": "mode.num_classes",
    "unmasking_model_checkpoint": "mode.generator_checkpoint",
    "unfreeze_at_iteration": "transfer.unfreeze_at_iter",
}
"""Names whose value is kept under a key of today."""

GONE = {
    "wandb_log": "runs are logged to MLflow, unless tracking.enabled=false",
    "wandb_project": "runs are logged to MLflow; tracking.experiment names the experiment there",
    "wandb_run_name": "runs are logged to MLflow, under run.name",
    "tensorboard_log": "runs are logged to MLflow, unless tracking.enabled=false",
    "backend": "Ray chooses how workers talk to each other; scaling.num_workers says how many there are",
    "ckpt_filename": "a run resumes by its run.name, from its newest checkpoint that verifies",
    "start_iter_num": "a run resumes by its run.name, at the step where it stopped",
    "unfreeze_lr_multiplier": "set the rate of the unfrozen layers under transfer",
    "enable_entropy_penalty": "the objective has no penalty on entropy; objective.label_smoothing is the nearest",
    "max_entropy_penalty": "the objective has no penalty on entropy",
    "entropy_penalty_start_iter": "the objective has no penalty on entropy",
    "batch_cache_size": "batches are made ahead of time, not cached; batches.prefetch_chunks says how many",
    "prefetch_buffer_size": "batches.prefetch_chunks counts chunks of batches.chunk_steps steps, not batches",
    "validation_samples_per_file": "validation pools are kept in memory, not in files",
    "special_token_offset": "room for special tokens is always reserved",
    "vocab_size": "the vocabulary is that of the text",
    "meta_vocab_size": "the vocabulary is that of the text",
    "extended_vocab_size": "the vocabulary is that of the text, with room for special tokens",
    "mask_token_id": "the mask token comes right after the vocabulary",
    "target_masked_ratio": "is a key of a stage; give a list of stages",
    "max_masked_ratio": "is a key of a stage; give a list of stages",
    "p1_probability": "is a key of a stage; give a list of stages",
    "p2_probability": "is a key of a stage; give a list of stages",
}
"""Names without a counterpart, and why."""

STAGE_LISTS = {
    "unmasking_stages": "curriculum.stages",
    "training_stages": "curriculum.stages",
    "stages": "curriculum.stages",
    "validation_stages": "curriculum.validation_stages",
}
"""Names of lists of stages."""

Keys = dict[str, Any]
"""Values by today's keys. A key that begins with a slash is a group, and its value the name of a file."""


class NotImportedError(Exception):
    """Why a value has no counterpart."""


@dataclass(frozen=True)
class Older:
    """An older configuration: its values by lower-case names, the file, and the names of today's dataset files."""

    given: Mapping[str, Any]
    file: Path
    datasets: Sequence[str] = ()

    @property
    def mode(self) -> str | None:
        """The mode that the older names ask for; None if they ask for none. Raises NotImportedError when they disagree."""
        names = ("training_type", "model_mode", "attention_type")
        asked = {MODES[value]: name for name in names if isinstance(value := self.given.get(name), str) and value in MODES}
        if self.given.get("switch_to_binary") is True:
            asked["replaced_token_detector"] = "switch_to_binary"
        if "replaced_token_detector" in asked:  # which began as a token classifier with two classes
            asked.pop("token_classifier", None)
        if len(asked) > 1:
            raise NotImportedError(f"{' and '.join(asked.values())} ask for different modes ({', '.join(asked)})")
        return next(iter(asked), None)


Rule = Callable[[Any, Older], Keys]
"""From a value to today's keys; none where it asks for what is always so. Raises NotImportedError for one without a counterpart."""


class Reading(NamedTuple):
    """How the value of a parameter is converted: the `keys` that it can set, a `note` for docs/older-configs.md, and the rule."""

    keys: tuple[str, ...]
    note: str
    rule: Rule


def meaning(name: str, value: Any, older: Older) -> Keys:
    """What the parameter `name`, in lower case, sets today. Raises NotImportedError if it sets nothing."""
    if name in STAGE_LISTS:
        return {STAGE_LISTS[name]: _stages(value)} if value else {}
    if name in GONE:
        raise NotImportedError(GONE[name])
    if name in RENAMED:
        return {RENAMED[name]: value}
    if name not in READ:
        raise NotImportedError(f"unknown name{did_you_mean(name, KNOWN)}")
    return READ[name].rule(value, older)


def _require(holds: bool, reason: str) -> None:
    if not holds:
        raise NotImportedError(reason)


def _text(value: Any) -> str:
    _require(isinstance(value, str) and bool(value), "must be text")
    return str(value)


def _flag(value: Any) -> bool:
    _require(isinstance(value, bool), "must be True or False")
    return bool(value)


def _switch(key: str, on: str, off: str | None = None) -> Reading:
    """A switch that sets `key` to `on`, or to `off`; without `off`, `False` is always so."""
    note = f"`True` is `{on}`" + (f", `False` is `{off}`" if off else "")
    return Reading((key,), note, lambda value, _: {key: new} if (new := on if _flag(value) else off) else {})


def _only(wanted: Any, note: str, *reasons: tuple[Any, str]) -> Reading:
    """A parameter that may only have the value `wanted`; `reasons` say why not another value, the last one of any value."""

    def rule(value: Any, older: Older) -> Keys:
        given = _flag(value) if isinstance(wanted, bool) else value
        _require(given == wanted, next((reason for other, reason in reasons if other == given), reasons[-1][1]))
        return {}

    return Reading((), f"`{wanted}` is always so{note}", rule)


def _schedule(key: str) -> Reading:
    def rule(value: Any, older: Older) -> Keys:
        _require(older.given.get("decay_lr") is not False, "has no effect where decay_lr is False")
        return {key: value}

    return Reading((key,), "without effect where `decay_lr = False`", rule)


def _dataset(value: Any, older: Older) -> Keys:
    name = _text(value)
    if name in older.datasets and name not in ("nanogpt", "text"):
        return {"/dataset": name}
    beside = next((parent / "data" / name for parent in older.file.absolute().parents if (parent / "data" / name).is_dir()), None)
    return {"/dataset": "nanogpt", "dataset.path": str(beside or Path("data", name))}


def _eval_iters(value: Any, older: Older) -> Keys:
    batch_size = older.given.get("batch_size", TrainingSettings().batch_size)
    _require(type(value) is int and type(batch_size) is int, "eval_iters and batch_size must be whole numbers")
    return {"validation.sequences": value * batch_size}


def _decay_lr(value: Any, older: Older) -> Keys:
    rate = older.given.get("learning_rate", TrainingSettings().learning_rate)
    return {} if _flag(value) else {"training.min_lr": rate, "training.warmup_iters": 0}


def _max_new_tokens(value: Any, older: Older) -> Keys:
    _require(type(value) is int, "must be a whole number")
    prompt = older.given.get("start", "")
    return {"sampling.length": value + len(prompt if isinstance(prompt, str) else "")}


def _start(value: Any, older: Older) -> Keys:
    _require(not _text(value).startswith("FILE:"), "a prompt is given itself, as sampling.prompt")
    return {"sampling.prompt": value.replace("\\", "\\\\").replace("[", "\\[")}


def _mode(value: Any, older: Older) -> Keys:
    _require(_text(value) in (*MODES, "bidirectional"), "names no mode")
    return {"mode.type": older.mode} if value in MODES else {}


def _converted(key: str, note: str, convert: Callable[[Any], Any], *unset: Any) -> Reading:
    """A parameter whose value `convert` turns into that of `key`; the values `unset` say nothing."""
    return Reading((key,), note, lambda value, _: {} if value in unset else {key: convert(value)})


DECAY_NOTE = "`False`: the lowest rate is the highest, without warm-up; `True` is always so"
RESUME_REASON = "a run resumes by its run.name, and only one of masklab"
CHECKPOINT_REASON = "a checkpoint is kept at every evaluation, or each training.checkpoint_interval steps"
MODE_NOTE = f"{', '.join(f'`{old}`' for old in MODES)}; `bidirectional` says nothing that is not so"
CHECKPOINT_NOTE = "an empty path says nothing; checkpoints of other programs are not read"
CHECKPOINT = Reading(
    ("transfer.init_checkpoint",), CHECKPOINT_NOTE, lambda value, _: {"transfer.init_checkpoint": _text(value)} if value else {}
)
READ = {
    "dataset": Reading(("dataset", "dataset.path"), "a dataset of that name, else nanoGPT's folder `data/NAME`", _dataset),
    "out_dir": _converted("run.name", "its last part", lambda value: Path(_text(value)).name),
    "eval_iters": Reading(("validation.sequences",), "batches there, sequences here: times `batch_size`", _eval_iters),
    "warmup_iters": _schedule("training.warmup_iters"),
    "lr_decay_iters": _schedule("training.lr_decay_iters"),
    "min_lr": _schedule("training.min_lr"),
    "decay_lr": Reading(("training.min_lr", "training.warmup_iters"), DECAY_NOTE, _decay_lr),
    "device": _converted("system.device", "without the number of a GPU", lambda value: re.sub(r"^cuda:\d+$", "cuda", _text(value))),
    "init_from": _only(
        "scratch",
        "; `resume` and `gpt2` have no counterpart",
        ("resume", RESUME_REASON),
        ("gpt2", "weights of other programs are not loaded"),
    ),
    "always_save_checkpoint": _only(True, "", (False, CHECKPOINT_REASON)),
    "eval_only": _only(False, "; jobs/evaluate.py scores a checkpoint", (True, "jobs/evaluate.py scores a checkpoint")),
    "use_rope": _only(True, "", (False, "positions are always rotary")),
    "start": Reading(("sampling.prompt",), "brackets are escaped, since `[5]` is a gap here; no `FILE:`", _start),
    "max_new_tokens": Reading(("sampling.length",), "with the prompt's own characters", _max_new_tokens),
    PARAGRAPHS: _switch("dataset.windows", "paragraphs", "anywhere"),
    "use_all_stages_for_training": _switch("curriculum.mixing", "all"),
    "weight_loss_by_mask_ratio": _switch("objective.weighting", "inverse_sqrt_mask_ratio"),
    "training_type": Reading(("mode.type",), MODE_NOTE, _mode),
    "model_mode": Reading(("mode.type",), "as `training_type`", _mode),
    "attention_type": Reading(("mode.type",), "as `training_type`", _mode),
    BINARY: Reading(
        ("mode.type",), "`True` is `replaced_token_detector`", lambda value, older: {"mode.type": older.mode} if _flag(value) else {}
    ),
    "transfer_learning_mode": _converted("transfer.mode", "`from_scratch` says nothing", lambda mode: mode, "from_scratch", None),
    "freeze_transformer": _switch("transfer.mode", "feature_extraction"),
    "pretrained_checkpoint_path": CHECKPOINT,
    "init_from_checkpoint": CHECKPOINT,
}
"""Names whose value is converted."""

KNOWN = (*RENAMED, *READ, *GONE, *STAGE_LISTS)


def _stages(stages: Any) -> list[Keys]:
    """A list of stages under today's names. The type of a stage that names none is the one that its keys belong to."""
    _require(isinstance(stages, list) and all(isinstance(stage, dict) for stage in stages), "must be a list of stages, each a dictionary")
    renamed = [{STAGE_KEYS.get(key, key): value for key, value in stage.items()} for stage in stages]
    _require([*map(len, renamed)] == [*map(len, stages)], "a stage gives a key twice, in two spellings")
    kinds = {"mask_ratio": "sticky", "max_ratio": "random", "spans_count": "span"}
    guessed = [next(({"type": kind} for key, kind in kinds.items() if key in stage), {}) for stage in renamed]
    return [stage if "type" in stage else guess | stage for stage, guess in zip(renamed, guessed, strict=True)]
