"""Resolves the keys that name another run's checkpoint: `transfer.init_checkpoint` and `mode.generator_checkpoint`.

Each is looked up once, and what was found is written to the run's own config, which a resumed run keeps to.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from masklab.config.checkpoints.find_checkpoint import FoundCheckpoint, find_checkpoint
from masklab.config.compose.aliases import modern
from masklab.config.jobs.train import Config
from masklab.errors import CheckpointError, ConfigError, UserError, naming
from masklab.io.paths import absolute_path
from masklab.modes.any_mode import AnyMode
from masklab.modes.character_mode import CharacterMode
from masklab.modes.mode import Mode
from masklab.modes.replaced_token_detector import ReplacedTokenDetector
from masklab.modes.sequence_classifier import SequenceClassifier
from masklab.training.checkpoint.manifest import MANIFEST, sha256_of
from masklab.training.run_folder import RunFolder
from masklab.training.settings import Ancestor

SIZES = ("n_layer", "n_head", "n_embd", "bias", "norm", "activation", "qk_norm", "rope_base", "time_conditioning")
"""Keys of the model that must be those of the checkpoint."""
SOURCE, GENERATOR = "transfer.init_checkpoint", "mode.generator_checkpoint"


def with_source(tree: Mapping[str, Any], explicit: Set[str], home: Path) -> dict[str, Any]:
    """`tree` with the model sizes and lineage of the checkpoint that `transfer.init_checkpoint` names, if any.

    `explicit` are the keys of the model that the user has set. Raises ConfigError if one of them differs from the checkpoint, naming both
    values, and for a checkpoint that is missing or damaged.
    """
    values = modern(tree)
    transfer = values.get("transfer")
    reference = transfer.get("init_checkpoint") if isinstance(transfer, Mapping) else None
    if not isinstance(transfer, Mapping) or reference is None:
        return values
    if not isinstance(reference, str):
        reference = str(reference)
    model = dict(values.get("model") or {})
    recorded = _recorded_source(values, reference, home)
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


def _recorded_source(values: Mapping[str, Any], reference: str, home: Path) -> dict[str, Any] | None:
    """The config that the run was begun with, if the run exists and began with the same `reference`."""
    run = values.get("run")
    run = run if isinstance(run, Mapping) else {}
    config = _known_config(home, run.get("name"), run.get("folder"))
    transfer = config.get("transfer")
    known = isinstance(transfer, dict) and transfer.get("init_checkpoint") == reference and transfer.get("lineage")
    return config if known and isinstance(config.get("model"), dict) else None


def _found(reference: str, home: Path) -> FoundCheckpoint:
    """The checkpoint of `reference`. Raises ConfigError, with the key, if there is no usable one."""
    try:
        return find_checkpoint(reference, home)
    except UserError as error:
        raise ConfigError(f"{SOURCE} = {reference!r}: {str(error).removeprefix(f'checkpoint = {reference!r}: ')}") from error


def _lineage(found: FoundCheckpoint) -> tuple[Ancestor, ...]:
    """The checkpoint itself, then those that it was initialised from. Raises CheckpointError for an untrained one."""
    config, path = found.config(), found.checkpoint.path
    try:
        iteration = found.checkpoint.state["iteration"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{SOURCE}: checkpoint {path}: state.json cannot be read ({type(error).__name__})") from error
    if type(iteration) is not int or iteration < 1:
        raise CheckpointError(f"{SOURCE}: checkpoint {path} is untrained: it was saved before the first step; train the run first")
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
    """Raise ConfigError if the user asks for another architecture than that of the checkpoint at `path`."""
    clashes = [key for key in SIZES if key in explicit & model.keys() and str(model[key]) != str(sizes[key]) and model[key] != sizes[key]]
    if clashes:
        clash = "; ".join(f"model.{key} = {model[key]}, where the checkpoint has {sizes[key]}" for key in clashes)
        raise ConfigError(f"{clash} ({SOURCE}: {path}); leave {'it' if len(clashes) == 1 else 'them'} to the checkpoint")


def _tied_head(values: Mapping[str, Any], source: Mode, was_tied: bool) -> bool | None:
    """The value of model.tied_head if the user does not set it; None for the default.

    False for a head that is trained alone; otherwise a head of characters keeps the checkpoint's.
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


def with_generator(config: Config, home: Path) -> Config:
    """`config` with `mode.generator_checkpoint`, if given, replaced by the folder of that checkpoint, and with the digest of its weights.

    An existing run keeps its generator even if the generator's run was trained further.
    Raises RunError or CheckpointError if it does not exist, is damaged or untrained, does not fill masks, or has another digest.
    """
    mode = config.mode
    if not isinstance(mode, ReplacedTokenDetector | SequenceClassifier) or mode.generator_checkpoint is None:
        return config
    with naming(GENERATOR):
        found = find_checkpoint(_recorded_generator(config, mode.generator_checkpoint, home) or mode.generator_checkpoint, home)
        _fills_masks(found)
    digest = found.checkpoint.weights_sha256
    if mode.generator_digest not in (None, digest):
        raise CheckpointError(
            f"{GENERATOR} = {found.checkpoint.path}: its weights are not those of mode.generator_digest; leave the digest out"
        )
    resolved = {"generator_checkpoint": str(found.checkpoint.path), "generator_digest": digest}
    return config.model_copy(update={"mode": mode.model_copy(update=resolved)})


def _recorded_generator(config: Config, reference: str, home: Path) -> str | None:
    """The checkpoint that the run was begun with, if the run exists and `reference` names the run of that checkpoint."""
    mode = _known_config(home, config.run.name, config.run.folder).get("mode")
    path = mode.get("generator_checkpoint") if isinstance(mode, dict) else None
    runs = (home / "runs" / reference, absolute_path(reference, GENERATOR))
    return path if isinstance(path, str) and Path(path).parent.parent in runs else None


def _known_config(home: Path, name: Any, parent: Any) -> dict[str, Any]:
    """The config of the run `name` in the folder `parent` (in `runs` if None); empty if there is none."""
    if name is None:
        return {}
    folder = RunFolder((absolute_path(str(parent), "run.folder") if parent else home / "runs") / str(name))
    try:
        return folder.config() or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}  # claiming the folder reports what is wrong with it


def _fills_masks(found: FoundCheckpoint) -> None:
    mode = found.config().mode
    if not mode.fills_masks:
        raise CheckpointError(
            f"checkpoint {found.checkpoint.path} has mode.type={mode.type}, which fills no masks; name a token_classifier"
        )
    if found.checkpoint.state.get("iteration") == 0:
        raise CheckpointError(f"checkpoint {found.checkpoint.path} is untrained: it was saved before the first step; train the run first")
