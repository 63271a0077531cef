"""What `jobs/prepare.py` can be told: the tree of a training run, of which it reads the dataset, and an older configuration."""

from __future__ import annotations

import re
from typing import Self

from pydantic import field_validator, model_validator

from masklab.config.tree import Config
from masklab.schema import Section

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


class OlderSettings(Section):
    """A configuration of nanoGPT, or of a masked-training program made from it, to be written as files of today."""

    file: str | None = None
    """Python file of assignments, which is read and never run."""
    name: str | None = None
    """Name of the files that are written, jobs/conf/experiment/NAME.yaml and curricula/NAME.yaml; that of the older file when not given."""

    @field_validator("name")
    @classmethod
    def _file_name(cls, name: str | None) -> str | None:
        if name is not None and not NAME.fullmatch(name):
            raise ValueError("must be 1 to 100 letters, digits, '_' or '-', the first a letter or digit (a name, not a path)")
        return name


class PrepareConfig(Config):
    """A dataset to prepare, or an older configuration to carry over."""

    older: OlderSettings = OlderSettings()
    """An older configuration to carry over."""

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        """Nothing is trained: any dataset goes with any mode."""
        return self
