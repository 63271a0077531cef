"""The initial weights of a run that begins with another run's checkpoint. Its hashes are verified, and nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import TypeAdapter, ValidationError

from masklab.errors import CheckpointError, DataError, first_line
from masklab.io.safe_yaml import parse_yaml
from masklab.model.config import ModelConfig
from masklab.model.transfer import SourceNetwork, transfer
from masklab.model.transfer_report import TransferReport
from masklab.model.transformer import Transformer
from masklab.modes.any_mode import AnyMode
from masklab.modes.character_mode import CharacterMode
from masklab.modes.mode import Mode
from masklab.text.labels import Labels
from masklab.text.vocabulary import Vocabulary
from masklab.training.checkpoint.checkpoint import Checkpoint, open_checkpoint
from masklab.training.checkpoint.manifest import MANIFEST, sha256_of
from masklab.training.recipe import Worker
from masklab.training.settings import Ancestor

UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, yaml.YAMLError, ValidationError, DataError)
"""Errors of reading the documents of a checkpoint."""


@dataclass(frozen=True)
class InitialWeights:
    """The network of the checkpoint `source`, for transfer to another one."""

    source: Ancestor
    network: SourceNetwork
    block_size: int

    @classmethod
    def read(cls, source: Ancestor) -> Self:
        """Raises CheckpointError if the checkpoint is missing, damaged or replaced, or holds NaN."""
        path = Path(source.checkpoint)
        if not path.is_dir():
            raise CheckpointError(f"transfer.init_checkpoint: checkpoint {path} is missing; begin again under another run.name")
        checkpoint = open_checkpoint(path)
        if sha256_of(path / MANIFEST) != source.manifest_sha256:
            raise CheckpointError(
                f"transfer.init_checkpoint: checkpoint {path} was replaced since the run was begun ({MANIFEST} differs); "
                "begin again under another run.name"
            )
        try:
            config = parse_yaml(_text(checkpoint, "config.yaml"))
            tensors = checkpoint.tensors(ModelConfig.model_validate(config["model"]))
        except UNREADABLE as error:
            raise _unreadable(path, error) from error
        try:
            mode: Mode = TypeAdapter(AnyMode).validate_python(config.get("mode", {"type": "token_classifier"}))
            vocabulary = Vocabulary.from_json(json.loads(_text(checkpoint, "vocabulary.json")))
            labels = Labels.from_json(json.loads(_text(checkpoint, "labels.json"))) if "labels.json" in checkpoint.files else None
            block_size = int(config["training"]["block_size"])
        except UNREADABLE as error:
            raise _unreadable(path, error) from error
        return cls(source, SourceNetwork(tensors, vocabulary, head_of(mode, labels), mode.causal), block_size)

    def copy_into(self, model: Transformer, worker: Worker) -> TransferReport:
        """Copy the weights into `model`, the network of `worker`. Raises CheckpointError where they do not fit."""
        try:
            report = transfer(model, self.network, worker.vocabulary, head_of(worker.recipe.mode, worker.labels))
        except CheckpointError as error:
            raise CheckpointError(f"checkpoint {self.source.checkpoint}: {error}") from error
        T = worker.recipe.training.block_size
        if self.block_size == T:
            return report
        note = f"blocks: {T} characters, its source's {self.block_size}; positions are rotary, and no weight depends on their number"
        return replace(report, notes=(*report.notes, note))


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"checkpoint {path}: the description of its network cannot be read ({first_line(error)})")


def head_of(mode: Mode, labels: Labels | None) -> Hashable | None:
    """Identifies the meaning of a head's outputs: equal for interchangeable heads. None for one logit per character."""
    if isinstance(mode, CharacterMode):
        return None
    name: Any = mode.model_dump()["type"]
    kind = (name, mode.features(1))
    return (*kind, labels.names, labels.mean, labels.deviation) if labels else kind


def _text(checkpoint: Checkpoint, name: str) -> str:
    if name not in checkpoint.files:
        raise ValueError(f"{name} is not in its {MANIFEST}")
    return (checkpoint.path / name).read_text(encoding="utf-8")
