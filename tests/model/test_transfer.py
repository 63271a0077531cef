"""Weights of one network in another: rows go by character, heads by their meaning, and nothing is lost or tied unsaid."""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Any

import pytest
import torch
from torch import Tensor

from masklab.errors import CheckpointError
from masklab.model.config import ModelConfig
from masklab.model.size import ParameterCount
from masklab.model.training_mode import freeze, is_frozen, parameters_with_depth, unfreeze
from masklab.model.transfer import SourceNetwork, listed, transfer
from masklab.model.transfer_report import TransferReport
from masklab.model.transformer import Transformer
from masklab.text.vocabulary import SPECIAL_TOKENS, Vocabulary

SMALL = {"n_layer": 2, "n_head": 2, "n_embd": 16}
OLD, NEW = Vocabulary.of_text("abcdez"), Vocabulary.of_text("!bdxyz")
SHARED, ADDED, DROPPED = "bdz", "!xy", "ace"
C = 16


def network(vocabulary: Vocabulary, seed: int = 0, outputs: int | None = None, causal: bool = False, **keys: Any) -> Transformer:
    return Transformer(
        ModelConfig.model_validate(SMALL | keys), vocabulary.size, vocabulary.extended_size, seed, outputs=outputs, causal=causal
    )


def source(vocabulary: Vocabulary = OLD, head: Hashable | None = None, **keys: Any) -> SourceNetwork:
    """A network with every weight away from its first value."""
    model = network(vocabulary, 1, **keys)
    generator = torch.Generator().manual_seed(2)
    tensors = {name: tensor + torch.randn(tensor.shape, generator=generator) for name, tensor in model.state_dict().items()}
    return SourceNetwork(tensors, vocabulary, head, model.causal)


def loaded(made: SourceNetwork, **keys: Any) -> tuple[Transformer, Transformer, TransferReport]:
    """A network with the weights of `made`, what it was before, and what is told."""
    head = keys.pop("head", None)
    model, before = (network(NEW, 5, **keys) for _ in range(2))
    return model, before, transfer(model, made, NEW, head)


def at(vocabulary: Vocabulary, character: str) -> int:
    return vocabulary.characters.index(character)


def test_rows_go_by_character_and_special_tokens_by_name() -> None:
    made = source()
    model, before, report = loaded(made)
    own, first, theirs = model.embedding.weight, before.embedding.weight, made.tensors["embedding.weight"]
    for character in SHARED:
        assert torch.equal(own[at(NEW, character)], theirs[at(OLD, character)])
    for character in ADDED:
        assert torch.equal(own[at(NEW, character)], first[at(NEW, character)])
    for i in range(len(SPECIAL_TOKENS)):
        assert torch.equal(own[NEW.size + i], theirs[OLD.size + i])
    assert [(p.what, p.parameters) for p in report.new] == [("embedding of 3 characters (! x y)", 3 * C)]
    assert [(p.what, p.parameters) for p in report.left] == [("embedding of 3 characters (a c e)", 3 * C)]


def test_all_but_embedding_and_head_is_the_source_to_the_bit() -> None:
    made = source(bias=True, qk_norm=True, time_conditioning=True)
    model, _, report = loaded(made, bias=True, time_conditioning=True)
    body = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("embedding")}
    assert body and all(torch.equal(tensor, made.tensors[name]) for name, tensor in body.items())
    assert report.loaded[0].parameters == sum(tensor.numel() for tensor in body.values())


@pytest.mark.parametrize("tied", [True, False])
def test_shared_characters_are_scored_as_by_the_source(tied: bool) -> None:
    made = source(tied_head=tied)
    model, _, _ = loaded(made, tied_head=tied)
    old = network(OLD, tied_head=tied)
    old.load_state_dict(made.tensors)
    text = "bdzzbd"
    logits = [net(torch.tensor([[at(v, c) for c in text]]))[..., [at(v, c) for c in SHARED]] for net, v in ((old, OLD), (model, NEW))]
    torch.testing.assert_close(*logits, rtol=0, atol=0)


def test_a_head_that_is_untied_begins_as_a_copy_and_that_is_said() -> None:
    made = source()
    model, before, report = loaded(made, tied_head=False)
    assert model.output is not None and before.output is not None
    for character in SHARED:
        assert torch.equal(model.output.weight[at(NEW, character)], made.tensors["embedding.weight"][at(OLD, character)])
    for character in ADDED:
        assert torch.equal(model.output.weight[at(NEW, character)], before.output.weight[at(NEW, character)])
    assert model.output.weight.data_ptr() != model.embedding.weight.data_ptr()
    assert [note.partition(",")[0] for note in report.notes] == ["head: a copy of the embedding"]


def test_a_head_that_is_tied_leaves_the_matrix_of_its_source_and_says_so() -> None:
    made = source(tied_head=False)
    model, _, report = loaded(made)
    assert model.output is None
    assert ("head", OLD.size * C) in [(p.what, p.parameters) for p in report.left]
    assert report.notes == ("head: tied to the embedding, its source's was not; that matrix is left",)


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_that_stays_as_it_was_needs_no_note(tied: bool) -> None:
    assert loaded(source(tied_head=tied), tied_head=tied)[2].notes == ()


def test_a_bias_of_the_head_goes_by_character_too() -> None:
    made = source(tied_head=False, bias=True)
    model, _, _ = loaded(made, tied_head=False, bias=True)
    assert model.output is not None
    assert [model.output.bias[at(NEW, c)].item() for c in SHARED] == [made.tensors["output.bias"][at(OLD, c)].item() for c in SHARED]
    assert all(model.output.bias[at(NEW, c)] == 0 for c in ADDED)


@pytest.mark.parametrize("head", ["same", "another"])
def test_a_head_of_the_same_outputs_is_loaded_and_another_is_new(head: str) -> None:
    made = source(head="same", outputs=3)
    model, before, report = loaded(made, outputs=3, head=head)
    assert model.output is not None and before.output is not None
    expected = made.tensors["output.weight"] if head == "same" else before.output.weight
    assert torch.equal(model.output.weight, expected)
    size = 3 * C + 3
    assert ("head of 3 outputs", size) in [(p.what, p.parameters) for p in (report.loaded if head == "same" else report.new)]
    assert (("head", size) in [(p.what, p.parameters) for p in report.left]) == (head != "same")


@pytest.mark.parametrize("was", [True, False])
def test_another_direction_is_said(was: bool) -> None:
    _, _, report = loaded(source(causal=was), causal=not was)
    (note,) = report.notes
    assert note.startswith("attention: ") and ("both directions; its source" in note) == was


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"n_embd": 32}, "blocks.0.attention.key_norm.weight is [16], the model's [8]"),
        ({"n_layer": 1}, "blocks.1.attention.key_norm.weight is missing"),
        ({"n_layer": 3}, "blocks.2.attention.key_norm.weight is unknown"),
        ({"activation": "swiglu"}, "blocks.0.feed_forward.out.weight is [16, 43]"),
        ({"bias": True}, "bias is unknown"),
    ],
    ids=str,
)
def test_another_architecture_is_refused_and_changes_nothing(keys: dict[str, Any], named: str) -> None:
    model, before = network(NEW, 5), network(NEW, 5)
    with pytest.raises(CheckpointError) as caught:
        transfer(model, source(**keys), NEW, None)
    assert named in str(caught.value)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True))


def test_weights_of_another_vocabulary_than_theirs_are_refused() -> None:
    made = source(tied_head=False)
    forged = SourceNetwork(made.tensors, Vocabulary.of_text("abcdefghijkl"), None, False)
    with pytest.raises(CheckpointError, match=r"embedding\.weight has 16 rows, where its vocabulary asks for 32"):
        transfer(network(NEW), forged, NEW, None)


def test_the_counts_add_up_to_the_network() -> None:
    for keys in ({}, {"tied_head": False, "bias": True}, {"outputs": 4, "head": "other"}):
        model, _, report = loaded(source(bias="bias" in keys), **keys)
        unused = (NEW.extended_size - NEW.size - len(SPECIAL_TOKENS)) * C
        assert sum(p.parameters for p in (*report.loaded, *report.new)) + unused == sum(p.numel() for p in model.parameters())


def test_a_report_survives_json() -> None:
    report = loaded(source(causal=True, tied_head=False), tied_head=True)[2]
    assert len(report.notes) == 2
    assert TransferReport.from_json(json.loads(json.dumps(report.to_json()))) == report


@pytest.mark.parametrize(
    ("characters", "words"),
    [("é", "1 character (é)"), (" \n", "2 characters (space \\n)"), ("a" * 20, f"20 characters ({12 * 'a '}...)")],
)
def test_characters_are_listed_so_that_they_can_be_read(characters: str, words: str) -> None:
    assert listed(characters) == words


def hidden_of(model: Transformer) -> Tensor:
    return model.hidden(torch.zeros((1, 4), dtype=torch.int64))


def test_a_frozen_network_builds_no_graph_below_its_head_and_drops_nothing_out() -> None:
    model = network(NEW, outputs=3, dropout=0.5)
    freeze(model)
    assert model.output is not None
    assert is_frozen(model)
    first, second = hidden_of(model), hidden_of(model)
    assert first.grad_fn is None and not first.requires_grad
    assert torch.equal(first, second)
    model.head(first).sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {"output.weight", "output.bias"}
    assert ParameterCount.of(model).trainable == 3 * C + 3
    unfreeze(model)
    assert not is_frozen(model) and hidden_of(model).requires_grad
    assert not torch.equal(hidden_of(model), hidden_of(model))
    counts = ParameterCount.of(model)
    assert counts.trainable == counts.total


def test_depth_counts_layers_from_the_head_down() -> None:
    model = network(NEW, outputs=3, time_conditioning=True, n_layer=3)
    names = {id(p): name for name, p in model.named_parameters()}
    depth = {names[id(p)]: d for p, d in parameters_with_depth(model)}
    assert depth.keys() == set(names.values())
    expected = {"output": 0, "final_norm": 1, "blocks.2": 1, "blocks.1": 2, "blocks.0": 3, "noise_embedding": 4, "embedding": 4}
    assert all(depth[name] == next(d for top, d in expected.items() if name.startswith(f"{top}.")) for name in depth)
