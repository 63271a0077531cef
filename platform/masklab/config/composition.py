"""The configuration of a job: the files of the project's groups, then the overrides of the command line, then the checks.

Values come from the sections themselves; a file gives only what differs. Later wins: `jobs/conf/config.yaml`, the chosen
files, `+experiment=NAME`, overrides. Nothing is ever instantiated from a configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from masklab.config.older_spellings import modern
from masklab.config.overrides import Overrides
from masklab.config.tree import Config
from masklab.config.writing import one_line, validated
from masklab.errors import ConfigError

USER_GROUPS = {"dataset": "datasets", "curriculum": "curricula"}
"""Groups whose files users edit, and the project's folders of these files."""
FILE_GROUPS = ("model", "experiment")
"""Groups whose files lie in `jobs/conf`."""
UNREADABLE = "__unreadable__"


def compose(overrides: Sequence[str], root: Path) -> Config:
    """The checked configuration of the project in `root` under `overrides`. Raises ConfigError for whatever is wrong."""
    asked = Overrides.parse(overrides, group_names(root))
    tree = _composed(asked, root)
    asked.apply(tree)
    return validated(_resolved(tree))


def group_names(root: Path) -> dict[str, list[str]]:
    """The names that each group offers in the project `root`."""
    folders = {group: root / folder for group, folder in USER_GROUPS.items()} | {group: root / "jobs/conf" / group for group in FILE_GROUPS}
    return {group: sorted(file.stem for file in folder.glob("*.yaml")) for group, folder in folders.items()}


def _composed(asked: Overrides, root: Path) -> dict[str, Any]:
    """The chosen files laid over each other, before the overrides of single keys."""
    _store_user_files(root)
    choices = [f"{'+' if group == 'experiment' else ''}{group}={name}" for group, name in asked.choices.items()]
    try:
        with initialize_config_dir(str((root / "jobs/conf").absolute()), version_base="1.3"):
            tree = OmegaConf.to_container(hydra_compose("config", overrides=choices), resolve=False)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"jobs/conf: {one_line(error)}") from error
    assert isinstance(tree, dict)
    if UNREADABLE in tree:
        raise ConfigError(tree[UNREADABLE])
    return {str(key): value for key, value in tree.items()}


def _store_user_files(root: Path) -> None:
    """Offer the project's own files to Hydra, in place of those of any other project."""
    store = ConfigStore.instance()
    for group, folder in USER_GROUPS.items():
        store.repo.pop(group, None)
        for file in sorted((root / folder).glob("*.yaml")):
            store.store(group=group, name=file.stem, package="_global_", node=_node(group, file, root))


def _node(group: str, file: Path, root: Path) -> dict[str, Any]:
    """What `file` adds to the tree: its group's section, and the objective's where it has one.

    A file that cannot be read is an error only once it is chosen.
    """
    try:
        body = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        if not isinstance(body, dict):
            raise ConfigError("must be a mapping of keys")
        beside = {"objective": body.pop("objective")} if group == "curriculum" and "objective" in body else {}
        return modern({group: {"name": file.stem} | body}) | beside
    except (ConfigError, OmegaConfBaseException, yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        return {UNREADABLE: f"{file.relative_to(root)}: {one_line(error)}"}


def _resolved(tree: dict[str, Any]) -> dict[str, Any]:
    try:
        resolved = OmegaConf.to_container(OmegaConf.create(tree), resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key}: must be given") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'configuration'}: {str(error).partition(chr(10))[0]}") from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}
