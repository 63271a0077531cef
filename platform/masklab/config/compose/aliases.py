"""Names of older configurations, read as today's. Files are always written with today's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from masklab.errors import ConfigError

STAGE_KEYS = {
    "target_masked_ratio": "mask_ratio",
    "max_masked_ratio": "max_ratio",
    "p1_probability": "p_start",
    "p2_probability": "p_extend",
    "val_loss_stale_count": "patience",
}
STAGE_LISTS = ("stages", "validation_stages")
PARAGRAPHS = "use_paragraph_boundaries"
TOKENS = "token_classifier"
TRANSFER_KEYS = {
    "pretrained_checkpoint_path": "init_checkpoint",
    "init_from_checkpoint": "init_checkpoint",
    "transfer_learning_mode": "mode",
    "unfreeze_at_iteration": "unfreeze_at_iter",
}
"""Keys of `transfer`, which older configurations have at the top."""
BINARY = "switch_to_binary"
MODES = {
    "language_model": "language_model",
    "causal": "language_model",
    "token_classifier": "token_classifier",
    "token_classification": "token_classifier",
    "unmasking": "token_classifier",
    "replaced_token_detector": "replaced_token_detector",
    "binary_classification": "replaced_token_detector",
    "remasking": "replaced_token_detector",
    "remasking_binary": "replaced_token_detector",
    "sequence_classifier": "sequence_classifier",
    "sequence_classification": "sequence_classifier",
    "sequence_scoring": "sequence_classifier",
}
"""Values of the older names for a mode, and the mode."""

Path = tuple[str, ...]

SWITCHES: dict[Path, tuple[Path, str, str]] = {
    ("dataset", PARAGRAPHS): (("dataset", "windows"), "paragraphs", "anywhere"),
    ("mode", BINARY): (("mode", "type"), "replaced_token_detector", "token_classifier"),
}
"""Older switches: today's key, and its values for true and false."""


def modern(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the configuration `tree` under today's names. Raises ConfigError when both spellings of a key disagree."""
    out = dict(tree)
    if isinstance(curriculum := tree.get("curriculum"), Mapping):
        out["curriculum"] = dict(curriculum)
        for name in STAGE_LISTS:
            if isinstance(stages := curriculum.get(name), list):
                out["curriculum"][name] = [_modern_mapping(stage, ("curriculum", name, str(i))) for i, stage in enumerate(stages)]
    for section in ("dataset", "mode"):
        if section in tree:
            out[section] = _modern_mapping(tree[section], (section,))
    if "mode" in out:
        out["mode"] = _of_labels(out["mode"], tree.get("dataset"))
    if older := {key: out.pop(key) for key in TRANSFER_KEYS if key in out}:
        out["transfer"] = older | dict(out["transfer"] if isinstance(out.get("transfer"), Mapping) else {})
    if "transfer" in out:
        out["transfer"] = _modern_mapping(out["transfer"], ("transfer",))
    return out


def modern_assignment(path: Path, value: Any) -> tuple[Path, Any]:
    """The key `path` and its `value` under today's name, for one override."""
    if len(path) == 4 and path[0] == "curriculum" and path[1] in STAGE_LISTS:
        return (*path[:3], STAGE_KEYS.get(path[3], path[3])), value
    if path in SWITCHES:
        return _switched(path, value)
    if path == ("mode", "type") and isinstance(value, str):
        return path, MODES.get(value, value)
    if path[-1] in TRANSFER_KEYS and path[:-1] in ((), ("transfer",)):
        if path[-1] == "transfer_learning_mode" and value == "from_scratch":
            raise ConfigError("transfer_learning_mode = from_scratch: is so unless transfer.init_checkpoint is given; leave it out")
        return ("transfer", TRANSFER_KEYS[path[-1]]), value
    return path, value


def _of_labels(mode: Any, dataset: Any) -> Any:
    """The mode section: a token classifier with a number of classes is the labeller of tokens, where the dataset labels these."""
    is_older = isinstance(mode, Mapping) and mode.get("type", TOKENS) == TOKENS and mode.get("num_classes") is not None
    is_labelled = isinstance(dataset, Mapping) and dataset.get("label_type") == "per_token"
    return {**mode, "type": "token_labeller"} if is_older and is_labelled else mode


def disagreement(where: Path, one: str, its_value: Any, other: str, other_value: Any) -> ConfigError:
    """The error of two spellings of one key under `where` that say different things."""
    place = ".".join(where)
    return ConfigError(f"{place}: {one}={its_value} and {other}={other_value} are two spellings of one key with different values; give one")


def _modern_mapping(value: Any, where: Path) -> Any:
    if not isinstance(value, Mapping):
        return value
    out: dict[Any, Any] = {}
    spelled: dict[Any, tuple[str, Any]] = {}
    for key, given in value.items():
        path, modern_value = modern_assignment((*where, str(key)), given)
        name = path[-1] if path[-1] != str(key) else key
        if name in spelled and out[name] != modern_value:
            raise disagreement(where, *spelled[name], str(key), given)
        out[name], spelled[name] = modern_value, (str(key), given)
    return out


def _switched(path: Path, value: Any) -> tuple[Path, str]:
    """The key and the value that an older switch means. Raises ConfigError for a value that is not a bool."""
    key, on, off = SWITCHES[path]
    if not isinstance(value, bool):
        raise ConfigError(f"{'.'.join(path)} = {value!r}: must be true or false (today's name is {'.'.join(key)}={on})")
    return key, on if value else off
