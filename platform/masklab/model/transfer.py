"""Beginning with the weights of another network: what is loaded, what is new, what is left behind.

The two may differ in vocabulary (rows go by character), in head, in direction, and in whether the head is tied to the embedding.
All else must be of one shape.

Shapes: V characters, E tokens in the extended vocabulary, C channels.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from masklab.errors import CheckpointError
from masklab.model.transfer_report import Part, TransferReport
from masklab.model.transformer import Transformer
from masklab.text.vocabulary import SPECIAL_TOKENS, Vocabulary

EMBEDDING, OUTPUT = "embedding.weight", "output."
SHOWN = 12
"""Characters that are listed one by one."""


@dataclass(frozen=True)
class SourceNetwork:
    """Trained weights by name, and what they mean. `head` tells heads of their own apart; None for one logit a character."""

    tensors: Mapping[str, Tensor]
    vocabulary: Vocabulary
    head: Hashable | None
    causal: bool


@torch.no_grad()
def transfer(model: Transformer, source: SourceNetwork, vocabulary: Vocabulary, head: Hashable | None) -> TransferReport:
    """Lay the weights of `source` over the first ones of `model`, whose `vocabulary` and `head` may be others.

    Raises CheckpointError, naming tensors, where they do not fit; `model` is then as it was.
    """
    _refuse_other_shapes(model, source, same_head=head == source.head)
    rows = Rows.between(source.vocabulary, vocabulary)
    body = [name for name in model.state_dict() if not name.startswith((EMBEDDING, OUTPUT))]
    own = model.state_dict()
    for name in body:
        own[name].copy_(source.tensors[name])
    own[EMBEDDING][rows.tokens[1]] = source.tensors[EMBEDDING][rows.tokens[0]].to(own[EMBEDDING])
    words = f"{model.config.n_layer} blocks and the last norm"
    report = TransferReport(loaded=(Part(words, sum(own[name].numel() for name in body)),))
    head_report = _transfer_head(model, source, rows, same=head == source.head, characters=head is None)
    return report.beside(rows.report(model.config.n_embd), head_report, _turned(model, source))


def _turned(model: Transformer, source: SourceNetwork) -> TransferReport:
    if source.causal == model.causal:
        return TransferReport()
    seen = ("both directions", "only what comes before")
    return TransferReport(notes=(f"attention: sees {seen[model.causal]}; its source saw {seen[source.causal]}",))


@dataclass(frozen=True)
class Rows:
    """Tokens that two vocabularies share, characters by themselves and special tokens by name: numbers in each, (2, N)."""

    tokens: Tensor
    characters: int
    """How many of the N are characters; they come first."""
    new: str
    """Characters that the source does not know."""
    left: str
    """Characters that are only the source's."""

    @classmethod
    def between(cls, source: Vocabulary, target: Vocabulary) -> Rows:
        """The tokens shared by `source` and `target`."""
        known = {character: number for number, character in enumerate(source.characters)}
        shared = [(known[character], number) for number, character in enumerate(target.characters) if character in known]
        special = [(source.size + i, target.size + i) for i in range(len(SPECIAL_TOKENS))]
        new = "".join(character for character in target.characters if character not in known)
        left = "".join(sorted(known.keys() - set(target.characters)))
        return cls(torch.tensor([*shared, *special], dtype=torch.int64).T, len(shared), new, left)

    def report(self, channels: int) -> TransferReport:
        """What becomes of the embedding."""
        shared = f"embedding of {self.characters} characters and {len(SPECIAL_TOKENS)} special tokens"
        return TransferReport(
            (Part(shared, self.tokens.shape[1] * channels),),
            (Part(f"embedding of {listed(self.new)}", len(self.new) * channels),) if self.new else (),
            (Part(f"embedding of {listed(self.left)}", len(self.left) * channels),) if self.left else (),
        )


def listed(characters: str) -> str:
    """E.g. `2 characters (é ñ)`."""
    shown = " ".join(c if c.isprintable() and not c.isspace() else ascii(c)[1:-1] if c != " " else "space" for c in characters[:SHOWN])
    count = f"{len(characters)} character{'s' if len(characters) > 1 else ''}"
    return f"{count} ({shown}{' ...' if len(characters) > SHOWN else ''})"


def _transfer_head(model: Transformer, source: SourceNetwork, rows: Rows, *, same: bool, characters: bool) -> TransferReport:
    """The head: of the same outputs it is loaded, of others it is new; one that was tied and no longer is, is copied and noted."""
    theirs = {name.removeprefix(OUTPUT): tensor for name, tensor in source.tensors.items() if name.startswith(OUTPUT)}
    size = sum(tensor.numel() for tensor in theirs.values())
    left = (Part("head", size),) if theirs else ()
    if model.output is None:
        if same and theirs:
            note = "head: tied to the embedding, its source's was not; that matrix is left"
            return TransferReport((), (), left, (note,))
        note = "head: tied to the embedding, which its source never used as one" if not same else ""
        return TransferReport((), (), left, (note,) if note else ())
    own = dict(model.output.named_parameters())
    total = sum(p.numel() for p in own.values())
    if not same:
        return TransferReport((), (Part(f"head of {len(own['weight'])} outputs", total),), left)
    if not characters:
        for name, tensor in model.output.state_dict().items():
            tensor.copy_(theirs[name])
        return TransferReport((Part(f"head of {len(own['weight'])} outputs", total),), (), ())
    return _transfer_characters(own, theirs, source, rows)


def _transfer_characters(own: Mapping[str, Tensor], theirs: Mapping[str, Tensor], source: SourceNetwork, rows: Rows) -> TransferReport:
    """The rows of an untied head of characters."""
    there, here = rows.tokens[:, : rows.characters]
    was_tied = not theirs
    theirs = theirs or {"weight": source.tensors[EMBEDDING]}
    for name in own.keys() & theirs.keys():
        own[name][here] = theirs[name][there].to(own[name])
    each = sum(own[name][0].numel() for name in own.keys() & theirs.keys())
    new = [Part(f"head of {listed(rows.new)}", len(rows.new) * each)] if rows.new else []
    new += [Part(f"{name} of the head", own[name].numel()) for name in own.keys() - theirs.keys()]
    left = (Part(f"head of {listed(rows.left)}", len(rows.left) * each),) if rows.left and not was_tied else ()
    notes = ("head: a copy of the embedding, to which its source's was tied; the two are trained apart",) if was_tied else ()
    return TransferReport((Part(f"head of {rows.characters} characters", rows.characters * each),), tuple(new), left, notes)


def _refuse_other_shapes(model: Transformer, source: SourceNetwork, *, same_head: bool) -> None:
    """Raise CheckpointError unless all but the rows of characters, and a head of other outputs, is of one shape."""
    problems = list(_misfits(model, source, same_head))
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(f"the weights are of another architecture: {'; '.join(problems[:3])}{more}; leave the model's sizes to them")


def _misfits(model: Transformer, source: SourceNetwork, same_head: bool) -> Iterator[str]:
    own, theirs = _fixed(model.state_dict()), _fixed(source.tensors)
    for name in sorted(own.keys() | theirs.keys()):
        if name not in own or name not in theirs:
            yield f"{name} is {'missing' if name in own else 'unknown'}"
        elif own[name].shape[name == EMBEDDING :] != theirs[name].shape[name == EMBEDDING :]:
            yield f"{name} is {list(theirs[name].shape)}, the model's {list(own[name].shape)}"
    rows = {EMBEDDING: source.vocabulary.extended_size} | ({f"{OUTPUT}weight": source.vocabulary.size} if source.head is None else {})
    for name, expected in rows.items():
        if name in source.tensors and len(source.tensors[name]) != expected:
            yield f"{name} has {len(source.tensors[name])} rows, where its vocabulary asks for {expected}"
    if same_head and source.head is not None and model.output is not None:
        for name, tensor in model.output.state_dict(prefix=OUTPUT).items():
            if name not in source.tensors or source.tensors[name].shape != tensor.shape:
                yield f"{name} is missing or of another shape than {list(tensor.shape)}"


def _fixed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(OUTPUT)}
