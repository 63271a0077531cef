"""The configuration of a job: the files of the project's groups, then the overrides of the command line, then the checks.

Values come from the sections themselves; a file gives only what differs. Later wins: `jobs/conf/config.yaml`, the chosen
files, `+experiment=NAME`, overrides. A job that works on a checkpoint begins with the configuration of its run instead. Nothing is
ever instantiated from a configuration.

Hydra only lays the chosen files over each other. Overrides and references are applied here, to plain values, because Hydra's own compose
and OmegaConf's interpolation would not do: they cannot override an item of a list by its index, merge keys of another type into a section
that is one of several types (`schedule: {type: ...}`), take a prompt such as "${a}" literally, or be kept from resolvers such as
`${oc.env:SECRET}` in a file or checkpoint of somebody else.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from masklab.config.compose.aliases import modern
from masklab.config.compose.interpolation import InheritedTexts, refers, without_references
from masklab.config.compose.overrides import Overrides
from masklab.config.compose.validation_messages import InvalidConfigError
from masklab.config.compose.yaml_io import validated, validated_as
from masklab.config.home import home_of
from masklab.config.jobs.registry import FOLDERS, TRAIN, JobTree
from masklab.config.jobs.train import Config
from masklab.curriculum.ramp import Ramp
from masklab.errors import ConfigError, one_line, shown
from masklab.io.safe_yaml import YamlLimitError, check_yaml, scalars, yaml_text
from masklab.schema import Section

USER_GROUPS = ("dataset", "curriculum")
"""Groups whose files users edit; those of the others lie in `jobs/conf`, where Hydra finds them."""
ADDED = ("experiment", "sweep")
"""Groups of which no file is taken unless one is named."""
UNREADABLE = "__unreadable__"
UNREADABLE_FILE = (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError, RecursionError)
"""What reading a file of YAML can raise, numbers of too many digits and other encodings than UTF-8 included."""


def compose(overrides: Sequence[str], root: Path) -> Config:
    """The checked configuration of a training run of the project in `root`. Raises ConfigError for whatever is wrong."""
    return validated(_tree(TRAIN, overrides, root))


def compose_tree(tree: JobTree, overrides: Sequence[str], root: Path) -> Section:
    """The checked configuration of a job of the project in `root`. Raises a UserError for whatever is wrong."""
    return validated_as(tree.root_class(), _tree(tree, overrides, root))


def group_names(root: Path, groups: Sequence[str] = tuple(FOLDERS)) -> dict[str, list[str]]:
    """The names that each group offers in the project `root`."""
    return {group: sorted(file.stem for file in (root / FOLDERS[group]).glob("*.yaml")) for group in groups}


def _tree(tree: JobTree, overrides: Sequence[str], root: Path) -> dict[str, Any]:
    asked = Overrides.parse([_whole_name(word) for word in overrides], group_names(root, tree.groups), tree.shorthands)
    inherited = InheritedTexts()
    is_apart = tree.inherited or not tree.groups
    values = _inherited(tree, asked, root, inherited) if is_apart else _composed({**tree.choices, **asked.choices}, root)
    asked.apply(values)
    values = {key: inherited.restored(value) for key, value in without_references(values).items()}
    asked.apply_literal(values)
    values = _with_ramp_as_stages(values)
    if _transfers(values):
        from masklab.config.checkpoints.checkpoint_keys import with_source

        return with_source(values, _explicit_sizes(tree, asked, root), home_of(root))
    return values


def _transfers(values: Mapping[str, Any]) -> bool:
    """Whether the run begins with the weights of another, under whatever spelling."""
    section = modern(values).get("transfer")
    return isinstance(section, Mapping) and "init_checkpoint" in section


def _explicit_sizes(tree: JobTree, asked: Overrides, root: Path) -> set[str]:
    """The keys of the model that the user has chosen: on the command line, or by files that say something else than the default ones."""
    chosen, default = (_composed({**tree.choices, **choices}, root).get("model", {}) for choices in (asked.choices, {}))
    given = {a.path[1] for a in asked.assignments if a.path[0] == "model" and len(a.path) == 2}
    return given | {key for key, value in chosen.items() if value != default.get(key)}


def _inherited(tree: JobTree, asked: Overrides, root: Path, texts: InheritedTexts) -> dict[str, Any]:
    """What the run of the checkpoint brings along, under the chosen files; its texts are kept by `texts`.

    A run of this home also says where it is tracked. A checkpoint from elsewhere does not: nobody is sent to an address of its choice.
    """
    values: dict[str, Any] = {}
    if reference := asked.value_of("checkpoint"):
        from masklab.config.checkpoints.find_checkpoint import find_checkpoint

        found = find_checkpoint(str(reference), home_of(root))
        is_ours = found.run is not None and found.run.path.parent == home_of(root) / "runs"
        keys = [key for key in tree.inherited if is_ours or not key.startswith("tracking.")]
        values = texts.replaced(_picked(found.config().model_dump(mode="json"), keys))
    for group, name in asked.choices.items():
        values[group] = _readable_node(group, name, root)[group]
    return values


def _picked(config: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """The parts of `config` that the dotted `keys` name."""
    out: dict[str, Any] = {}
    for key in keys:
        *parents, last = key.split(".")
        source, target = config, out
        for part in parents:
            source, target = source[part], target.setdefault(part, {})
        target[last] = source[last]
    return out


def _composed(chosen: Mapping[str, str], root: Path) -> dict[str, Any]:
    """The chosen file of each group laid over each other, before the overrides of single keys."""
    for group in USER_GROUPS:
        if group in chosen:
            _readable_node(group, chosen[group], root)
    choices = tuple(f"{'+' if group in ADDED else ''}{group}={name}" for group, name in chosen.items())
    return copy.deepcopy(_composed_once(choices, root.absolute(), tuple(_contents(root))))


@lru_cache(maxsize=32)
def _composed_once(choices: tuple[str, ...], root: Path, contents: tuple[tuple[Path, str], ...]) -> dict[str, Any]:
    """As `_composed`, kept for the next call with the same choices and the same `contents` of all files of the project's configuration."""
    _store_user_files(root)
    _refuse_hostile_files(root)
    try:
        with initialize_config_dir(str(root / "jobs/conf"), version_base="1.3"):
            tree = OmegaConf.to_container(hydra_compose("config", overrides=list(choices)), resolve=False)
    except UNREADABLE_FILE as error:
        raise ConfigError(f"jobs/conf: {one_line(error)}") from error
    assert isinstance(tree, dict)
    if UNREADABLE in tree:
        raise ConfigError(tree[UNREADABLE])
    return {str(key): value for key, value in tree.items()}


def _contents(root: Path) -> Iterator[tuple[Path, str]]:
    """Every file that a composition can read, and its text, or why it cannot be read."""
    for folder in ("jobs/conf", *(FOLDERS[group] for group in USER_GROUPS)):
        for file in sorted((root / folder).rglob("*.yaml")):
            try:
                yield file, yaml_text(file)
            except UNREADABLE_FILE as error:
                yield file, f"{type(error).__name__}: {error}"


def _refuse_hostile_files(root: Path) -> None:
    """Raise ConfigError for a file that Hydra must not read: too large, not a plain file, or with a resolver.

    Hydra looks references up while it picks the files of a list of defaults, and prints what it does not find.
    """
    for file in sorted((root / "jobs/conf").rglob("*.yaml")):
        try:
            resolver = next((word for word in scalars(yaml_text(file)) if refers(word) and ":" in word), None)
        except YamlLimitError as error:
            raise ConfigError(f"{file.relative_to(root)}: {one_line(error)}") from error
        except (yaml.YAMLError, OSError, ValueError, RecursionError):
            continue  # an error of whoever chooses it
        if resolver is not None:
            raise ConfigError(f"{file.relative_to(root)}: {shown(resolver, 40)}: nothing is looked up for a configuration; write the value")


def _store_user_files(root: Path) -> None:
    """Offer the project's own files to Hydra, in place of those of any other project."""
    store = ConfigStore.instance()
    for group in USER_GROUPS:
        store.repo.pop(group, None)
        for file in sorted((root / FOLDERS[group]).glob("*.yaml")):
            store.store(group=group, name=file.stem, package="_global_", node=_node(group, file, root))


def _node(group: str, file: Path, root: Path) -> dict[str, Any]:
    """What `file` adds to the tree: its group's section, and the objective's where it has one.

    A file that cannot be read is an error only once it is chosen.
    """
    try:
        return copy.deepcopy(_parsed_node(group, file.stem, yaml_text(file)))
    except (ConfigError, *UNREADABLE_FILE) as error:
        return {UNREADABLE: f"{file.relative_to(root)}: {one_line(error)}"}


def _readable_node(group: str, name: str, root: Path) -> dict[str, Any]:
    """The same of a chosen file. Raises ConfigError if it cannot be read."""
    node = _node(group, root / FOLDERS[group] / f"{name}.yaml", root)
    if UNREADABLE in node:
        raise ConfigError(node[UNREADABLE])
    return node


@lru_cache(maxsize=256)
def _parsed_node(group: str, name: str, text: str) -> dict[str, Any]:
    check_yaml(text)
    body = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    if not isinstance(body, dict):
        raise ConfigError("must be a mapping of keys")
    beside = {"objective": body.pop("objective")} if group == "curriculum" and "objective" in body else {}
    return modern({group: {"name": name} | body}) | beside


def _whole_name(word: str) -> str:
    """An override with `ramp.KEY`, which is short for `curriculum.ramp.KEY`, written out."""
    bare = word.lstrip("+~")
    return f"{word[: len(word) - len(bare)]}curriculum.{bare}" if bare.startswith("ramp.") else word


def _with_ramp_as_stages(tree: Mapping[str, Any]) -> dict[str, Any]:
    """`tree` with the stages of `curriculum.ramp` in its place, if it has one; the curriculum's other keys are kept.

    Raises ConfigError for an invalid ramp.
    """
    section = tree.get("curriculum")
    if not isinstance(section, Mapping) or "ramp" not in section:
        return dict(tree)
    rest = {key: value for key, value in section.items() if key != "ramp"}
    if "stages" in rest:
        raise ConfigError(f"curriculum.ramp: {rest.get('name', 'this curriculum')} has stages of its own; its keys go with curriculum=ramp")
    try:
        ramp = Ramp.model_validate(section["ramp"] or {})
    except ValidationError as error:
        problems = InvalidConfigError.of(error, section["ramp"], Ramp).problems
        raise ConfigError("; ".join(f"curriculum.ramp.{problem.line}" for problem in problems)) from None
    made = ramp.curriculum().model_dump(mode="json", exclude_unset=True)
    return {**tree, "curriculum": {**rest, "stages": made["stages"], "description": made["description"]}}
