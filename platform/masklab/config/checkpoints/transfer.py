"""What a run takes over from the checkpoint that `transfer.init_checkpoint` names: the sizes of the model, and its descent.

It is looked up once. A run that is there already has it in its own config, and needs the checkpoint no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from masklab.config.checkpoints.find_checkpoint import FoundCheckpoint, find_checkpoint
from masklab.config.compose.aliases import modern
from masklab.errors import CheckpointError, ConfigError, UserError
from masklab.io.paths import absolute_path
from masklab.modes.any_mode import AnyMode
from masklab.modes.character_mode import CharacterMode
from masklab.modes.mode import Mode
from masklab.training.checkpoint.manifest import MANIFEST, sha256_of
from masklab.training.run_folder import RunFolder
from masklab.training.settings import Ancestor

SIZES = ("n_layer", "n_head", "n_embd", "bias", "norm", "activation", "qk_norm", "rope_base", "time_conditioning")
"""Keys of the model that must be those of the checkpoint."""
KEY = "transfer.init_checkpoint"


def with_source(tree: Mapping[str, Any], explicit: Set[str], home: Path) -> dict[str, Any]:
    """`tree` with what the checkpoint says in place of what the user has not said; `explicit` are the keys of the model that he has.

    Raises ConfigError for a clash, naming both values, and for a checkpoint that is not there or not whole.
    """
    values = modern(tree)
    transfer = values.get("transfer")
    reference = transfer.get("init_checkpoint") if isinstance(transfer, Mapping) else None
    if not isinstance(transfer, Mapping) or reference is None:
        return values
    if not isinstance(reference, str):
        reference = str(reference)
    model = dict(values.get("model") or {})
    recorded = _recorded(values, reference, home)
    if recorded is None:
        found = _found(reference, home)
        source = found.config()
        sizes, lineage = source.model.model_dump(mode="json"), [ancestor.model_dump() for ancestor in _lineage(found)]
        _refuse_clash(model, sizes, explicit, found.checkpoint.path)
        tied = _tied_head(values, source.mode, source.model.tied_head)
    else:
        sizes, lineage = recorded["model"], recorded["transfer"]["lineage"]
        tied = sizes.get("tied_head")
    taken = {key: sizes[key] for key in SIZES if key in sizes and key not in explicit}
    if tied is not None and "tied_head" not in explicit:
        taken["tied_head"] = tied
    return {**values, "model": model | taken, "transfer": {**transfer, "init_checkpoint": reference, "lineage": lineage}}


def _recorded(values: Mapping[str, Any], reference: str, home: Path) -> dict[str, Any] | None:
    """The config that the run was begun with, where it is there and began with the same `reference`."""
    run = values.get("run")
    run = run if isinstance(run, Mapping) else {}
    name, parent = run.get("name"), run.get("folder")
    if name is None:
        return None
    folder = RunFolder((absolute_path(str(parent), "run.folder") if parent else home / "runs") / str(name))
    try:
        config = folder.config()
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None  # claiming the folder tells what is wrong with it
    transfer = config.get("transfer") if config else None
    known = isinstance(transfer, dict) and transfer.get("init_checkpoint") == reference and transfer.get("lineage")
    return config if config and known and isinstance(config.get("model"), dict) else None


def _found(reference: str, home: Path) -> FoundCheckpoint:
    """Raises ConfigError, under the key that it was given by, where `reference` names nothing that can be used."""
    try:
        return find_checkpoint(reference, home)
    except UserError as error:
        raise ConfigError(f"{KEY} = {reference!r}: {str(error).removeprefix(f'checkpoint = {reference!r}: ')}") from error


def _lineage(found: FoundCheckpoint) -> tuple[Ancestor, ...]:
    """The checkpoint itself, then those that it descends from. Raises CheckpointError for one that has not taken a step."""
    config, path = found.config(), found.checkpoint.path
    try:
        iteration = found.checkpoint.state["iteration"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{KEY}: checkpoint {path}: state.json cannot be read ({type(error).__name__})") from error
    if type(iteration) is not int or iteration < 1:
        raise CheckpointError(f"{KEY}: checkpoint {path} is untrained: it was saved before the first step; train the run first")
    own = Ancestor(
        run=found.run.path.name if found.run else None,
        checkpoint=str(path.resolve()),
        manifest_sha256=sha256_of(path / MANIFEST),
        mode=config.mode.type,
        iteration=iteration,
        mlflow_run_id=found.run.memory().get("mlflow_run_id") if found.run else None,
    )
    return (own, *config.transfer.lineage)


def _refuse_clash(model: Mapping[str, Any], sizes: Mapping[str, Any], explicit: Set[str], path: Path) -> None:
    """Raise ConfigError where the user asks for another architecture than the checkpoint at `path` has."""
    clashes = [key for key in SIZES if key in explicit & model.keys() and str(model[key]) != str(sizes[key]) and model[key] != sizes[key]]
    if clashes:
        told = "; ".join(f"model.{key} = {model[key]}, where the checkpoint has {sizes[key]}" for key in clashes)
        raise ConfigError(f"{told} ({KEY}: {path}); leave {'it' if len(clashes) == 1 else 'them'} to the checkpoint")


def _tied_head(values: Mapping[str, Any], source: Mode, was_tied: bool) -> bool | None:
    """Whether the head is the embedding, where the user does not say; None for the default.

    A head that is trained alone cannot be. Otherwise one of characters stays as it was.
    """
    try:
        mode: Mode = TypeAdapter(AnyMode).validate_python(values.get("mode") or {"type": "token_classifier"})
    except ValidationError:
        return None
    if not isinstance(mode, CharacterMode):
        return None
    if values["transfer"].get("mode") == "feature_extraction":
        return False
    return was_tied if isinstance(source, CharacterMode) else None
