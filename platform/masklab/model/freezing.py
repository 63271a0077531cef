"""Which weights are trained, and how far each lies from the head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from masklab.model.transformer import Transformer


@dataclass(frozen=True)
class Trainability:
    """Parameters of a network; a tied head is counted once, as the embedding."""

    total: int
    trainable: int

    @classmethod
    def of(cls, model: nn.Module) -> Trainability:
        """As `model` stands."""
        counts = [(p.numel(), p.requires_grad) for p in model.parameters()]
        return cls(sum(n for n, _ in counts), sum(n for n, trained in counts if trained))


def freeze(model: Transformer) -> None:
    """Leave only the head of `model` to be trained.

    No graph is then built below it, and no dropout is applied there, so that the features of a text are always the same.
    """
    assert model.output is not None, "a head of its own: of one tied to the embedding nothing would be left to train"
    model.requires_grad_(False)
    model.output.requires_grad_(True)
    model.eval()


def unfreeze(model: Transformer) -> None:
    """Let all weights of `model` be trained."""
    model.requires_grad_(True)
    model.train()


def is_frozen(model: Transformer) -> bool:
    """Whether only the head is trained."""
    return not model.embedding.weight.requires_grad


def parameters_with_depth(model: Transformer) -> Iterator[tuple[nn.Parameter, int]]:
    """Each parameter with its distance from the head in layers: 0 for the head, 1 for the last block and norm, most for the embedding.

    A tied head lies where the embedding does.
    """
    blocks = model.config.n_layer
    for name, parameter in model.named_parameters():
        top, *rest = name.split(".")
        depth = {"output": 0, "final_norm": 1}.get(top, blocks + 1)
        yield parameter, blocks - int(rest[0]) if top == "blocks" else depth
