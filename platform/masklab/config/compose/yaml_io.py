"""A resolved configuration as YAML, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from masklab.config.compose.aliases import modern
from masklab.config.compose.validation_messages import InvalidConfigError
from masklab.config.jobs.train import Config
from masklab.errors import ConfigError, one_line
from masklab.io.paths import LONGEST_OF_CURRICULA, is_name
from masklab.io.redaction import redacted
from masklab.io.safe_yaml import read_yaml
from masklab.schema import Section

Root = TypeVar("Root", bound=Section)


def validated(tree: Mapping[str, Any]) -> Config:
    """The configuration of a run that `tree` holds, older spellings included. Raises ConfigError, one line for all that is wrong."""
    return validated_as(Config, tree)


def validated_as(root: type[Root], tree: Mapping[str, Any]) -> Root:
    """As `validated`, for another job."""
    written = modern(tree)
    try:
        return root.model_validate(written)
    except ValidationError as error:
        raise InvalidConfigError.of(error, written, root) from None


def dump(config: Section) -> str:
    """All keys of `config` as YAML, in the order of the sections, without the secrets that addresses in it hold."""
    return dump_values(config.model_dump(mode="json"))


def dump_values(tree: Mapping[str, Any]) -> str:
    """Plain values as the same YAML."""
    return yaml.safe_dump(_type_first(redacted(tree)), sort_keys=False, allow_unicode=True, width=120)


def spelled(value: Any) -> str:
    """A plain value as the command line has it: `[{type:"random",patience:null}]`."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{spelled(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(spelled, value)) + "]"
    return json.dumps(value)


def load(path: Path) -> Config:
    """The configuration of a run, from a file that `dump` wrote. Raises ConfigError when it cannot be read."""
    try:
        tree = read_yaml(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {one_line(error)}") from error
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{path}: is not a configuration, which has sections such as 'training:'")
    return validated(_with_a_name_of_today(tree))


def _with_a_name_of_today(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """`tree`, whose curriculum may have any name, since an earlier masklab wrote it, with one that files can have."""
    curriculum = tree.get("curriculum")
    if not isinstance(curriculum, Mapping) or not isinstance(name := curriculum.get("name"), str):
        return tree
    if is_name(name) and len(name) <= LONGEST_OF_CURRICULA:
        return tree
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_-")[:LONGEST_OF_CURRICULA]
    return {**tree, "curriculum": {**curriculum, "name": plain if is_name(plain) else "custom"}}


def _type_first(value: Any) -> Any:
    """`value` with the key that names the kind of a mapping before the keys of that kind."""
    if isinstance(value, dict):
        kind = {"type": value["type"]} if "type" in value else {}
        return kind | {key: _type_first(item) for key, item in value.items() if key != "type"}
    if isinstance(value, list):
        return [_type_first(item) for item in value]
    return value
