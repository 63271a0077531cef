"""Older configurations carried over to a copy of the project's configuration."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path
from typing import Any

from masklab.config.compose.composition import compose
from masklab.config.jobs.train import Config
from masklab.config.legacy.importer import Import, import_config

PROJECT = Path(__file__).resolve().parents[2]
STAGES = """
UNMASKING_STAGES = [
    {'type': 'sticky', 'target_masked_ratio': 0.2, 'p1_probability': 0.3, 'p2_probability': 0.0, 'val_loss_stale_count': 5},
    {'target_masked_ratio': 0.4, 'p1_probability': 0.2, 'p2_probability': 0.8, 'val_loss_stale_count': 6},
    {'type': 'random', 'max_masked_ratio': 0.5},
    {'type': 'span', 'spans_count': 3},
]
VALIDATION_STAGES = UNMASKING_STAGES
"""


def copied_project(folder: Path) -> Path:
    """A project with the configuration of this one."""
    for place in ("jobs/conf", "curricula", "datasets"):
        shutil.copytree(PROJECT / place, folder / "project" / place)
    return folder / "project"


def carried(root: Path, text: str) -> Import:
    """The import of a file of this text as `older`."""
    file = root.parent / "config" / "small.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return import_config(file, "older", root)


def composed(root: Path, text: str) -> Config:
    """What the experiment that a file of this text becomes is composed to."""
    carried(root, text)
    return compose(["+experiment=older"], root)


def left(carriage: Import) -> dict[str, str]:
    """What was not carried over, and why."""
    return {name: reason for name, _, reason in carriage.left}


def value_at(config: Config, key: str) -> Any:
    """The value at a dotted key."""
    node: Any = config.model_dump()
    for part in key.split("."):
        node = node[part]
    return node
