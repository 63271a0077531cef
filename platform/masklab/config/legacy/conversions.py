"""How the values of older parameters are read: most stand as they are under a key of today, some mean another value, or nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from masklab.config.legacy.aliases import PARAGRAPHS, STAGE_KEYS, modern_assignment
from masklab.config.legacy.names import GONE, MODES, RENAMED, STAGE_LISTS
from masklab.errors import ConfigError
from masklab.training.settings import TrainingSettings

Keys = dict[str, Any]
"""Values by today's keys. A key that begins with a slash is a group, and its value the name of a file."""


class NotCarriedError(Exception):
    """Why a value has no counterpart."""


@dataclass(frozen=True)
class Older:
    """An older configuration: its values by lower-case names, the file, and the names of the dataset files that there are today."""

    given: Mapping[str, Any]
    file: Path
    datasets: Sequence[str] = ()

    @property
    def mode(self) -> str | None:
        """The mode of today that the older names ask for, None where they ask for none. Raises NotCarriedError when they disagree."""
        names = ("training_type", "model_mode", "attention_type")
        asked = {MODES[value]: name for name in names if isinstance(value := self.given.get(name), str) and value in MODES}
        if self.given.get("switch_to_binary") is True:
            asked["replaced_token_detector"] = "switch_to_binary"
        if "replaced_token_detector" in asked:  # which began as a token classifier with two classes
            asked.pop("token_classifier", None)
        if len(asked) > 1:
            raise NotCarriedError(f"{' and '.join(asked.values())} ask for different modes ({', '.join(asked)})")
        return next(iter(asked), None)


@dataclass(frozen=True)
class Reading:
    """How a value is read that does not stand as it is: `keys` it can lead to, a `note` for the table, and the rule.

    The rule returns nothing for a value that asks for what is so anyway, and raises NotCarriedError for one without a counterpart.
    """

    keys: tuple[str, ...]
    note: str
    read: Callable[[Any, Older], Keys]


def carried(name: str, value: Any, older: Older) -> Keys:
    """What the parameter `name`, in lower case, means today. Raises NotCarriedError for one that means nothing."""
    if name in GONE:
        raise NotCarriedError(GONE[name])
    return READ[name].read(value, older) if name in READ else {RENAMED[name]: value}


def _dataset(value: Any, older: Older) -> Keys:
    name = _text(value)
    if name in older.datasets and name not in ("nanogpt", "text"):
        return {"/dataset": name}
    beside = next((parent / "data" / name for parent in older.file.absolute().parents if (parent / "data" / name).is_dir()), None)
    return {"/dataset": "nanogpt", "dataset.path": str(beside or Path("data", name))}


def _paragraphs(value: Any, older: Older) -> Keys:
    try:
        path, windows = modern_assignment(("dataset", PARAGRAPHS), value)
    except ConfigError as error:
        raise NotCarriedError("must be true or false") from error
    return {".".join(path): windows}


def _device(value: Any, older: Older) -> Keys:
    return {"system.device": re.sub(r"^cuda:\d+$", "cuda", _text(value))}


def _eval_iters(value: Any, older: Older) -> Keys:
    batch_size = older.given.get("batch_size", TrainingSettings().batch_size)
    if any(type(number) is not int for number in (value, batch_size)):
        raise NotCarriedError("eval_iters and batch_size must be whole numbers")
    return {"validation.sequences": value * batch_size}


def _schedule(key: str) -> Callable[[Any, Older], Keys]:
    def read(value: Any, older: Older) -> Keys:
        if older.given.get("decay_lr") is False:
            raise NotCarriedError("has no effect where decay_lr is False")
        return {key: value}

    return read


def _decay_lr(value: Any, older: Older) -> Keys:
    if _flag(value):
        return {}
    rate = older.given.get("learning_rate", TrainingSettings().learning_rate)
    return {"training.min_lr": rate, "training.warmup_iters": 0}


def _init_from(value: Any, older: Older) -> Keys:
    if value == "scratch":
        return {}
    if value == "resume":
        raise NotCarriedError("a run resumes by its run.name, and only one of masklab")
    raise NotCarriedError("weights of other programs are not loaded")


def _max_new_tokens(value: Any, older: Older) -> Keys:
    if type(value) is not int:
        raise NotCarriedError("must be a whole number")
    prompt = older.given.get("start", "")
    return {"sampling.length": value + len(prompt if isinstance(prompt, str) else "")}


def _start(value: Any, older: Older) -> Keys:
    if _text(value).startswith("FILE:"):
        raise NotCarriedError("a prompt is given itself, as sampling.prompt")
    return {"sampling.prompt": value.replace("\\", "\\\\").replace("[", "\\[")}


def _mode(value: Any, older: Older) -> Keys:
    if _text(value) not in (*MODES, "bidirectional"):
        raise NotCarriedError("names no mode")
    return {"mode.type": older.mode} if value in MODES else {}


def _switch_to_binary(value: Any, older: Older) -> Keys:
    return {"mode.type": older.mode} if _flag(value) else {}


def _transfer_mode(value: Any, older: Older) -> Keys:
    return {} if value in ("from_scratch", None) else {"transfer.mode": value}


def _checkpoint(value: Any, older: Older) -> Keys:
    return {"transfer.init_checkpoint": _text(value)} if value else {}


def _switch(when: bool, keys: Keys) -> Callable[[Any, Older], Keys]:
    """A switch that means `keys` in one position, and in the other what is so anyway."""
    return lambda value, older: keys if _flag(value) is when else {}


def _only(wanted: bool, reason: str) -> Callable[[Any, Older], Keys]:
    """A switch of which one position is the only one today."""

    def read(value: Any, older: Older) -> Keys:
        if _flag(value) is not wanted:
            raise NotCarriedError(reason)
        return {}

    return read


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise NotCarriedError("must be text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise NotCarriedError("must be True or False")
    return value


MODE_NOTE = f"{', '.join(f'`{old}`' for old in MODES)}; `bidirectional` says nothing that is not so"
CHECKPOINT_NOTE = "an empty path says nothing; checkpoints of other programs are not read"
READ = {
    "dataset": Reading(("dataset", "dataset.path"), "a dataset of that name, else nanoGPT's folder `data/NAME`", _dataset),
    "out_dir": Reading(("run.name",), "its last part", lambda value, older: {"run.name": Path(_text(value)).name}),
    "eval_iters": Reading(("validation.sequences",), "batches there, sequences here: times `batch_size`", _eval_iters),
    "warmup_iters": Reading(("training.warmup_iters",), "without effect where `decay_lr = False`", _schedule("training.warmup_iters")),
    "lr_decay_iters": Reading(
        ("training.lr_decay_iters",), "without effect where `decay_lr = False`", _schedule("training.lr_decay_iters")
    ),
    "min_lr": Reading(("training.min_lr",), "without effect where `decay_lr = False`", _schedule("training.min_lr")),
    "decay_lr": Reading(
        ("training.min_lr", "training.warmup_iters"),
        "`False`: the lowest rate is the highest, without warm-up; `True` is always so",
        _decay_lr,
    ),
    "device": Reading(("system.device",), "without the number of a GPU", _device),
    "init_from": Reading((), "`scratch` is always so; `resume` and `gpt2` have no counterpart", _init_from),
    "always_save_checkpoint": Reading(
        (), "`True` is always so", _only(True, "a checkpoint is kept at every evaluation, or each training.checkpoint_interval steps")
    ),
    "eval_only": Reading(
        (), "`False` is always so; jobs/evaluate.py scores a checkpoint", _only(False, "jobs/evaluate.py scores a checkpoint")
    ),
    "use_rope": Reading((), "`True` is always so", _only(True, "positions are always rotary")),
    "start": Reading(("sampling.prompt",), "brackets are escaped, since `[5]` is a gap here; no `FILE:`", _start),
    "max_new_tokens": Reading(("sampling.length",), "with the prompt's own characters", _max_new_tokens),
    PARAGRAPHS: Reading(("dataset.windows",), "`True` is `paragraphs`, `False` is `anywhere`", _paragraphs),
    "use_all_stages_for_training": Reading(("curriculum.mixing",), "`True` is `all`", _switch(True, {"curriculum.mixing": "all"})),
    "weight_loss_by_mask_ratio": Reading(
        ("objective.weighting",),
        "`True` is `inverse_sqrt_mask_ratio`",
        _switch(True, {"objective.weighting": "inverse_sqrt_mask_ratio"}),
    ),
    "training_type": Reading(("mode.type",), MODE_NOTE, _mode),
    "model_mode": Reading(("mode.type",), "as `training_type`", _mode),
    "attention_type": Reading(("mode.type",), "as `training_type`", _mode),
    "switch_to_binary": Reading(("mode.type",), "`True` is `replaced_token_detector`", _switch_to_binary),
    "transfer_learning_mode": Reading(("transfer.mode",), "`from_scratch` says nothing", _transfer_mode),
    "freeze_transformer": Reading(
        ("transfer.mode",), "`True` is `feature_extraction`", _switch(True, {"transfer.mode": "feature_extraction"})
    ),
    "pretrained_checkpoint_path": Reading(("transfer.init_checkpoint",), CHECKPOINT_NOTE, _checkpoint),
    "init_from_checkpoint": Reading(("transfer.init_checkpoint",), CHECKPOINT_NOTE, _checkpoint),
}
"""Names whose value is read in another way."""
KNOWN = (*RENAMED, *READ, *GONE, *STAGE_LISTS)


def modern_stages(stages: Any) -> list[Keys]:
    """A list of stages under today's names. Raises NotCarriedError when it is none."""
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        raise NotCarriedError("must be a list of stages, each a dictionary")
    return [_modern_stage(stage) for stage in stages]


def _modern_stage(stage: Mapping[str, Any]) -> Keys:
    """One stage. Its type, where it names none, is the one that its keys belong to."""
    renamed = {STAGE_KEYS.get(key, key): value for key, value in stage.items()}
    if len(renamed) < len(stage):
        raise NotCarriedError("a stage gives a key twice, in two spellings")
    kinds = {"mask_ratio": "sticky", "max_ratio": "random", "spans_count": "span"}
    kind = next((kind for key, kind in kinds.items() if key in renamed), None)
    return renamed if "type" in renamed or kind is None else {"type": kind} | renamed
