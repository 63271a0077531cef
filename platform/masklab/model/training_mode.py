"""Whether a model is trained: evaluation mode, frozen weights, and the depth by which learning rates differ."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from masklab.model.transformer import Transformer


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """A context without dropout and gradients; on exit, also by an exception, the mode of `model` is restored."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def freeze(model: Transformer) -> None:
    """Train only the head of `model`: below it no graph is built and no dropout applied, so the features of a text stay the same."""
    assert model.output is not None, "a tied head has no weights of its own to train"
    model.requires_grad_(False)
    model.output.requires_grad_(True)
    model.eval()


def unfreeze(model: Transformer) -> None:
    model.requires_grad_(True)
    model.train()


def is_frozen(model: Transformer) -> bool:
    return not model.embedding.weight.requires_grad


def parameters_with_depth(model: Transformer) -> Iterator[tuple[nn.Parameter, int]]:
    """Each parameter with its distance from the head in layers: 0 for the head, 1 for the last block and norm, most for the embedding.

    A tied head has the depth of the embedding.
    """
    blocks = model.config.n_layer
    for name, parameter in model.named_parameters():
        top, *rest = name.split(".")
        depth = {"output": 0, "final_norm": 1}.get(top, blocks + 1)
        yield parameter, blocks - int(rest[0]) if top == "blocks" else depth
