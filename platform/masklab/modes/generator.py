"""A network that fills masks, the generator of the characters that a detector has to find (ELECTRA, Clark et al. 2020, section 2).

Shapes: B sequences, T positions, M masked positions of a sequence, V characters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from masklab.errors import CheckpointError, DataError
from masklab.io.safe_yaml import read_yaml
from masklab.rng import uniforms
from masklab.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from masklab.model.transformer import Transformer

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Generator:
    """A mask predictor on the CPU."""

    path: Path
    model: Transformer
    vocabulary: Vocabulary
    block_size: int

    def fill(self, tokens: NDArray[Any], keys: NDArray[np.uint64]) -> NDArray[Any]:
        """A copy of `tokens` (B, T) with a character drawn at each mask, all of a row from one pass, by the keys (B,) of the rows.

        Each row goes through the network alone and on one thread, since the rounding of a pass depends on both, and a draw near the edge
        between two characters on the rounding: so a row is the same in whatever part of a batch, and in whatever process.
        """
        import torch

        from masklab.model.training_mode import evaluation_mode

        filled, T = tokens.copy(), tokens.shape[1]
        draws_BT = uniforms(keys, T)
        masked_BT = tokens == self.vocabulary.mask_id
        with one_thread(), evaluation_mode(self.model):
            for b in np.flatnonzero(masked_BT.any(axis=1)):
                places_M = np.flatnonzero(masked_BT[b])
                row_1T = torch.from_numpy(tokens[b : b + 1].astype(np.int64))
                level_1 = torch.tensor([len(places_M) / T], dtype=torch.float32)
                logits_MV = self.model.head(self.model.hidden(row_1T, level_1, torch.from_numpy(places_M)))
                cumulative_MV = logits_MV.double().softmax(-1).cumsum(-1).numpy()
                drawn_M = (cumulative_MV < draws_BT[b, places_M, None] * cumulative_MV[:, -1:]).sum(axis=1)
                filled[b, places_M] = drawn_M.astype(tokens.dtype)
        return filled


@contextmanager
def one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=2)
def generator_at(path: str, digest: str | None) -> Generator:
    """The mask predictor of the checkpoint folder `path`, read once a process; `digest` is the SHA-256 of its weights.

    Raises CheckpointError when it cannot be read, or its weights are others.
    """
    import yaml

    from masklab.model.config import ModelConfig
    from masklab.model.tensor_file import load_tensors
    from masklab.model.transformer import Transformer

    folder = Path(path)
    try:
        if digest is not None and _sha256_of(folder / WEIGHTS) != digest:
            raise CheckpointError(f"{WEIGHTS} is not what the run was begun with; restore it")
        config = read_yaml(folder / "config.yaml")
        vocabulary = Vocabulary.from_json(json.loads((folder / "vocabulary.json").read_text(encoding="utf-8")))
        sizes = ModelConfig.model_validate(config["model"])
        tensors = load_tensors(folder / WEIGHTS, sizes)
        model = Transformer(sizes, vocabulary.size, vocabulary.extended_size)
        model.load_state_dict(tensors)
        return Generator(folder, model.eval(), vocabulary, int(config["training"]["block_size"]))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, RecursionError, yaml.YAMLError, DataError, CheckpointError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"mode.generator_checkpoint = {path}: cannot be read as the checkpoint of a mask predictor ({reason})"
        ) from error


def _sha256_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def fitting(generator: Generator, vocabulary: Vocabulary, block_size: int) -> Generator:
    """The same generator. Raises CheckpointError when it was trained on other characters, or on shorter blocks."""
    if generator.vocabulary != vocabulary:
        raise CheckpointError(
            f"mode.generator_checkpoint = {generator.path}: was trained on {generator.vocabulary.size} characters that are not the "
            f"{vocabulary.size} of this text; take a generator of the same text"
        )
    if generator.block_size < block_size:
        raise CheckpointError(
            f"mode.generator_checkpoint = {generator.path}: was trained on blocks of {generator.block_size} characters, fewer than "
            f"training.block_size = {block_size}; take a generator of longer blocks, or shorter ones here"
        )
    return generator
