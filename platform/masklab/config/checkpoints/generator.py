"""What `mode.generator_checkpoint` names: found, held against its hashes, and written down so that a run keeps to it."""

from __future__ import annotations

from pathlib import Path

import yaml

from masklab.config.checkpoints.find_checkpoint import FoundCheckpoint, find_checkpoint
from masklab.config.jobs.train import Config
from masklab.errors import CheckpointError, naming
from masklab.io.paths import absolute_path
from masklab.modes.replaced_token_detector import ReplacedTokenDetector
from masklab.modes.sequence_classifier import SequenceClassifier
from masklab.training.run_folder import RunFolder

KEY = "mode.generator_checkpoint"


def with_generator(config: Config, home: Path) -> Config:
    """The same `config` with the folder of the generator that it names, if any, and the digest of its weights.

    A run that is there already keeps to its generator, though the run of that was trained further.
    Raises RunError or CheckpointError when there is none, it is damaged or untrained, it fills no masks, or the digest is of another.
    """
    mode = config.mode
    if not isinstance(mode, ReplacedTokenDetector | SequenceClassifier) or mode.generator_checkpoint is None:
        return config
    with naming(KEY):
        found = find_checkpoint(_recorded(config, mode.generator_checkpoint, home) or mode.generator_checkpoint, home)
        _fills_masks(found)
    digest = found.checkpoint.weights_sha256
    if mode.generator_digest not in (None, digest):
        raise CheckpointError(f"{KEY} = {found.checkpoint.path}: its weights are not those of mode.generator_digest; leave the digest out")
    resolved = {"generator_checkpoint": str(found.checkpoint.path), "generator_digest": digest}
    return config.model_copy(update={"mode": mode.model_copy(update=resolved)})


def _recorded(config: Config, reference: str, home: Path) -> str | None:
    """The checkpoint that the run was begun with, where the run is there and `reference` names the run of that checkpoint."""
    if config.run.name is None:
        return None
    parent = absolute_path(config.run.folder, "run.folder") if config.run.folder else home / "runs"
    try:
        known = RunFolder(parent / config.run.name).config() or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None  # claiming the folder tells what is wrong with it
    mode = known.get("mode")
    path = mode.get("generator_checkpoint") if isinstance(mode, dict) else None
    runs = (home / "runs" / reference, absolute_path(reference, KEY))
    return path if isinstance(path, str) and Path(path).parent.parent in runs else None


def _fills_masks(found: FoundCheckpoint) -> None:
    mode = found.config().mode
    if not mode.fills_masks:
        raise CheckpointError(
            f"checkpoint {found.checkpoint.path} has mode.type={mode.type}, which fills no masks; name a token_classifier"
        )
    if found.checkpoint.state.get("iteration") == 0:
        raise CheckpointError(f"checkpoint {found.checkpoint.path} is untrained: it was saved before the first step; train the run first")
