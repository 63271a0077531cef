"""The denoiser: what it computes, what it cannot do, and where its weights come from."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from masklab.model.attention import rotary_table, rotate
from masklab.model.config import ModelConfig
from masklab.model.transformer import Transformer

V, E, B, T = 7, 16, 3, 10
SMALL = {"n_layer": 2, "n_head": 2, "n_embd": 16}
VARIANTS = [
    {"norm": norm, "activation": activation, "qk_norm": rest, "bias": rest, "tied_head": not rest, "time_conditioning": rest}
    for norm, activation, rest in itertools.product(["rms", "layer"], ["gelu", "swiglu"], [False, True])
]


def network(seed: int = 0, **keys: object) -> Transformer:
    return Transformer(ModelConfig.model_validate(SMALL | keys), V, E, seed=seed)


def stirred(**keys: object) -> Transformer:
    """A model whose every weight is away from its first value, gains, biases and modulations too."""
    model = network(**keys)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return model


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(0, E, (B, T), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def level() -> torch.Tensor:
    return torch.tensor([0.1, 0.5, 0.9])


def literal_forward(model: Transformer, tokens: list[int]) -> np.ndarray:
    """A plain model with RMSNorm, GELU and a tied head, one sequence, one head and one position at a time."""
    w = {name: p.detach().double().numpy() for name, p in model.named_parameters()}
    heads, size, base = model.config.n_head, model.config.head_size, model.config.rope_base

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.norm.weight"]

    def turn(x: np.ndarray, position: int) -> np.ndarray:
        angle = position * base ** (-np.arange(size // 2) * 2 / size)
        even, odd = x[0::2], x[1::2]
        return np.stack((even * np.cos(angle) - odd * np.sin(angle), even * np.sin(angle) + odd * np.cos(angle)), 1).ravel()

    x = w["embedding.weight"][tokens]
    for n in range(model.config.n_layer):
        block = f"blocks.{n}"
        q, k, v = np.split(norm(x, f"{block}.attention_norm") @ w[f"{block}.attention.qkv.weight"].T, 3, axis=-1)
        mixed = np.zeros_like(x)
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            for i in range(len(tokens)):
                scores = np.array([turn(q[i, part], i) @ turn(k[j, part], j) / math.sqrt(size) for j in range(len(tokens))])
                mixed[i, part] = np.exp(scores) / np.exp(scores).sum() @ v[:, part]
        x = x + mixed @ w[f"{block}.attention.out.weight"].T
        up = norm(x, f"{block}.feed_forward_norm") @ w[f"{block}.feed_forward.up.weight"].T
        gelu = up * 0.5 * (1 + np.vectorize(math.erf)(up / math.sqrt(2)))
        x = x + gelu @ w[f"{block}.feed_forward.out.weight"].T
    return norm(x, "final_norm") @ w["embedding.weight"][:V].T


def test_equals_a_literal_forward_pass(tokens: torch.Tensor) -> None:
    model = stirred(norm="rms", qk_norm=False).double()
    expected = np.stack([literal_forward(model, row.tolist()) for row in tokens])
    # the rotary table stays float32 in a float64 model
    np.testing.assert_allclose(model(tokens).detach().numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("keys", VARIANTS, ids=str)
def test_logits_have_one_column_a_character_and_every_weight_learns(
    keys: dict[str, object], tokens: torch.Tensor, level: torch.Tensor
) -> None:
    model = stirred(**keys)
    logits = model(tokens, level)
    assert logits.shape == (B, T, V)
    F.cross_entropy(logits.flatten(0, 1), tokens.flatten() % V).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0, name


@pytest.mark.parametrize("keys", VARIANTS, ids=str)
def test_chosen_positions_get_the_hidden_states_and_gradients_of_the_whole(
    keys: dict[str, object], tokens: torch.Tensor, level: torch.Tensor
) -> None:
    model = stirred(**keys).double()
    positions = torch.tensor([0, 4, 9, 11, 12, 27])
    gradients = []
    for hidden in (model.hidden(tokens, level, positions), model.hidden(tokens, level).flatten(0, 1)[positions]):
        model.zero_grad()
        logits = model.head(hidden)
        logits.square().sum().backward()
        gradients.append([logits.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    for chosen, whole in zip(*gradients, strict=True):
        torch.testing.assert_close(chosen, whole, rtol=1e-9, atol=1e-9)


def test_forward_is_the_head_of_the_hidden_states(tokens: torch.Tensor) -> None:
    model = stirred()
    torch.testing.assert_close(model(tokens), model.head(model.hidden(tokens)), rtol=0, atol=0)


def test_every_position_sees_both_directions(tokens: torch.Tensor) -> None:
    model = stirred()
    for changed in (0, T - 1):
        other = tokens.clone()
        other[:, changed] = (other[:, changed] + 1) % E
        assert ((model(tokens) - model(other)).abs().amax(dim=(0, 2)) > 0).all()


def test_sequences_of_a_batch_do_not_mix(tokens: torch.Tensor) -> None:
    model = stirred().double()
    alone = torch.cat([model(row[None]) for row in tokens])
    torch.testing.assert_close(model(tokens), alone, rtol=1e-9, atol=1e-9)


def test_the_seed_alone_decides_the_weights() -> None:
    before = torch.random.get_rng_state()
    first = network(seed=3).state_dict()
    torch.manual_seed(1234)
    second, other = network(seed=3).state_dict(), network(seed=4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["embedding.weight"], other["embedding.weight"])
    torch.random.set_rng_state(before)
    network(seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("keys", VARIANTS, ids=str)
def test_weights_begin_small_and_smaller_at_the_end_of_branches(keys: dict[str, object]) -> None:
    model = Transformer(ModelConfig.model_validate({"n_layer": 8, "n_head": 2, "n_embd": 64} | keys), 60, 64)
    for name, p in model.named_parameters():
        if name.endswith("bias") or "scale_shift" in name:
            assert (p == 0).all(), name
        elif p.dim() == 1:
            assert (p == 1).all(), name
        else:
            branch_end = name.endswith((".attention.out.weight", ".feed_forward.out.weight"))
            std = 0.02 * math.sqrt(768 / 64)
            assert p.std().item() == pytest.approx(std / 4 if branch_end else std, rel=0.1), name


def test_a_new_model_predicts_nearly_uniformly(tokens: torch.Tensor) -> None:
    loss = F.cross_entropy(network(tied_head=False)(tokens).flatten(0, 1), tokens.flatten() % V)
    assert loss.item() == pytest.approx(math.log(V), abs=0.2)


@pytest.mark.parametrize(
    "key",
    [
        {"n_layer": 3},
        {"n_head": 4},
        {"n_embd": 32},
        {"bias": True},
        {"norm": "rms"},
        {"activation": "swiglu"},
        {"qk_norm": False},
        {"tied_head": False},
        {"time_conditioning": True},
        {"rope_base": 100.0},
        {"dropout": 0.3},
    ],
    ids=str,
)
def test_every_key_changes_the_output(key: dict[str, object], tokens: torch.Tensor, level: torch.Tensor) -> None:
    assert key.keys() <= ModelConfig.model_fields.keys()
    assert not torch.equal(stirred(**key)(tokens, level), stirred()(tokens, level))


def test_dropout_acts_in_training_only(tokens: torch.Tensor) -> None:
    model = network(dropout=0.5)
    assert not torch.equal(model(tokens), model(tokens))
    model.eval()
    assert torch.equal(model(tokens), model(tokens))


def test_without_dropout_no_dropout_is_called(tokens: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("dropout was called")

    monkeypatch.setattr(F, "dropout", refuse)
    network()(tokens)
    with pytest.raises(AssertionError, match="was called"):
        network(dropout=0.1)(tokens)


def test_time_conditioning_begins_as_no_change_and_then_tells_levels_apart(tokens: torch.Tensor, level: torch.Tensor) -> None:
    new = network(time_conditioning=True)
    assert torch.equal(new(tokens, level), new(tokens, 1 - level))
    trained = stirred(time_conditioning=True)
    differs = (trained(tokens, level) - trained(tokens, level + 0.01)).abs().amax(dim=(1, 2))
    assert (differs > 1e-4).all()


def test_a_time_conditioned_model_needs_the_level(tokens: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="needs a noise level"):
        network(time_conditioning=True)(tokens)


def test_other_models_ignore_the_level(tokens: torch.Tensor, level: torch.Tensor) -> None:
    assert torch.equal(network()(tokens, level), network()(tokens))


def test_rotated_products_depend_on_the_distance_alone() -> None:
    q, k = torch.randn(2, 1, 1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).expand(2, 40, 1, 8)
    table = rotary_table(40, 8, 10000.0, torch.device("cpu"))
    products = rotate(q[None], table)[0, :, 0] @ rotate(k[None], table)[0, :, 0].T
    for distance in (-30, -1, 0, 5):
        torch.testing.assert_close(
            products.diagonal(distance), products.diagonal(distance)[:1].expand(40 - abs(distance)), rtol=0, atol=1e-4
        )
    assert products.diagonal(5)[0] != pytest.approx(products.diagonal(-5)[0].item(), abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rotation_is_the_same_with_complex_and_real_products(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    table = rotary_table(20, 8, 10000.0, torch.device("cpu"))
    results = []
    for compiling in (False, True):
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda compiling=compiling: compiling)
        x = torch.randn(2, 20, 3, 8, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
        y = rotate(x, table)
        y.backward(torch.ones_like(y))
        assert y.dtype == dtype
        results.append((y, x.grad))
    torch.testing.assert_close(*results)


@pytest.mark.slow
def test_the_compiled_model_agrees(tokens: torch.Tensor) -> None:
    model = stirred()
    positions = torch.tensor([1, 5, 20])
    compiled = torch.compile(model.hidden)
    torch.testing.assert_close(compiled(tokens, None, positions), model.hidden(tokens, None, positions), rtol=1e-4, atol=1e-4)


def test_the_rotary_table_is_float32_in_a_bfloat16_model(tokens: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spy(x: torch.Tensor, table: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        seen.append((x.dtype, table[0].dtype, table[1].dtype))
        return rotate(x, table)

    monkeypatch.setattr("masklab.model.attention.rotate", spy)
    logits = stirred(time_conditioning=True).bfloat16()(tokens, torch.rand(B))
    assert logits.dtype == torch.bfloat16
    assert set(seen) == {(torch.bfloat16, torch.float32, torch.float32)}


@pytest.mark.parametrize("keys", VARIANTS, ids=str)
def test_autocast_stays_near_float32(keys: dict[str, object], tokens: torch.Tensor, level: torch.Tensor) -> None:
    model = network(**keys)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(tokens, level)
    whole = model(tokens, level)
    # bfloat16 keeps 8 bits, so its error grows with the logits
    torch.testing.assert_close(half.float(), whole, rtol=0.05, atol=0.04 * whole.std().item())


@pytest.mark.parametrize("keys", VARIANTS, ids=str)
def test_no_chosen_positions_give_zero_gradients(keys: dict[str, object], tokens: torch.Tensor, level: torch.Tensor) -> None:
    model = stirred(**keys)
    model.head(model.hidden(tokens, level, torch.zeros(0, dtype=torch.int64))).sum().backward()
    assert all(p.grad is not None and (p.grad == 0).all() for p in model.parameters())
