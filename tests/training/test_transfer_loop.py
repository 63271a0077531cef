"""Runs that begin with another's weights: what is frozen stays to the bit, rates go by layer, and a resume crosses the unfreezing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import yaml
from pydantic import TypeAdapter
from recipes import recipe
from safetensors.torch import load_file
from torch.nn.parallel import DistributedDataParallel
from torch.utils.flop_counter import FlopCounterMode

from masklab.errors import CheckpointError
from masklab.model.layers import SMALLEST_DEVIATION, StandardisedLinear
from masklab.model.transformer import Transformer
from masklab.modes.any_mode import AnyMode
from masklab.modes.mode import Mode
from masklab.modes.sequence_classifier import SequenceClassifier
from masklab.sampling.settings import SamplingSettings
from masklab.text.corpus import TokenCorpus
from masklab.text.labelled_corpus import LabelledCorpus
from masklab.text.labelled_split import Splitting, cleaned
from masklab.text.labels import Labels
from masklab.text.preparation import Corpus
from masklab.text.sources.origin import Example
from masklab.training.checkpoint.manifest import MANIFEST, files_of, sealed, sha256_of
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.data.batch import BatchKey
from masklab.training.data.batch_maker import LocalSource
from masklab.training.events import CheckpointSaved, Event, RunFinished, RunStarted, StepDone, Unfrozen
from masklab.training.learner import ROWS, calibrate
from masklab.training.loop import Loop
from masklab.training.precision import Precision
from masklab.training.ranks import Ranks
from masklab.training.recipe import Recipe, Worker
from masklab.training.settings import Ancestor, TransferSettings

CPU = torch.device("cpu")
MODES = [kind.model_fields["type"].default for kind in get_args(get_args(AnyMode)[0])]
"""Every mode that there is."""


def mode_of(name: str) -> Mode:
    mode: Mode = TypeAdapter(AnyMode).validate_python({"type": name})
    return mode


def corpus_for(mode: Mode, corpus: TokenCorpus) -> Corpus:
    """Text such as `mode` reads, of characters that other modes' text lacks."""
    if mode.labels_of is None:
        return corpus
    texts = [f"{name} words {i}!" for name in ("few", "many") for i in range(12)]
    if mode.labels_of == "rows":
        return Splitting(0.3, None).of(cleaned([Example("", text, text[:3]) for text in texts], "class", "here"), "class", "here", {})
    rows = [Example("", text, [str(c.isdigit()) for c in text]) for text in texts]
    return Splitting(0.3, None).of(cleaned(rows, "per_token", "here"), "per_token", "here", {})


def saved(mode: Mode, corpus: Corpus, folder: Path, **model: Any) -> Ancestor:
    """A checkpoint of a network of `mode` whose weights are all away from their first values."""
    made = recipe(model=model)
    labels = corpus.labels if isinstance(corpus, LabelledCorpus) else None
    network = stirred(mode.build(made.model, corpus.vocabulary, labels, 1))
    config = {"model": made.model.model_dump(mode="json"), "mode": mode.model_dump(mode="json"), "training": {"block_size": 32}}
    documents = {
        "config.yaml": yaml.safe_dump(config),
        "vocabulary.json": json.dumps(corpus.vocabulary.to_json()),
    }
    documents |= {"labels.json": json.dumps(labels.to_json())} if labels else {}
    path = CheckpointStore(folder, documents).save(3, network, {}, {"iteration": 3})
    return Ancestor(
        run=None,
        checkpoint=str(path),
        manifest_sha256=sha256_of(path / MANIFEST),
        mode=mode.model_dump()["type"],
        iteration=3,
        mlflow_run_id=None,
    )


def stirred(model: Transformer) -> Transformer:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def transferring(mode: Mode, source: Ancestor, transfer: dict[str, Any], **sections: dict[str, Any]) -> Recipe:
    """A short run of `mode` that begins with `source`."""
    stages = {} if mode.needs_masks else {"curriculum": {"stages": [{"type": "none"}]}}
    made = recipe(**stages, **sections)
    settings = TransferSettings.model_validate({"init_checkpoint": "given", "lineage": (source,)} | transfer)
    sampling = SamplingSettings() if mode.causal else made.sampling
    return replace(made, mode=mode, transfer=settings, sampling=sampling)


def loop_of(made: Recipe, corpus: Corpus, store: CheckpointStore | None = None, ranks: Ranks | None = None) -> Loop:
    ranks = ranks or Ranks()
    source = LocalSource(made.batch_maker(corpus), *ranks.part(made.training.rows_per_step))
    labels: Labels | None = corpus.labels if isinstance(corpus, LabelledCorpus) else None
    wrap = DistributedDataParallel if ranks.size > 1 else (lambda module: module)
    precision = Precision.of(made.system, CPU)
    return Loop(Worker(made, corpus.vocabulary, precision, labels, ranks, wrap), made.pools(corpus), source, store)


@pytest.fixture(scope="module")
def sources(corpus: TokenCorpus, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ancestor]:
    """A checkpoint of every mode."""
    folder = tmp_path_factory.mktemp("sources")
    return {name: saved(mode_of(name), corpus_for(mode_of(name), corpus), folder / name) for name in MODES}


def weights(model: Transformer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


SHORT = {"max_iters": 2, "eval_interval": 2}
POOLS = {"sequences": 2, "nelbo_sequences": 2, "final_nelbo_sequences": 2}
FROZEN = {"mode": "feature_extraction"}
UNTIED = {"tied_head": False}


@pytest.mark.parametrize("target", MODES)
@pytest.mark.parametrize("name", MODES)
def test_every_mode_begins_with_every_other(name: str, target: str, sources: dict[str, Ancestor], corpus: TokenCorpus) -> None:
    mode = mode_of(target)
    loop = loop_of(transferring(mode, sources[name], {}, training=SHORT, validation=POOLS), corpus_for(mode, corpus))
    tensors = load_file(Path(sources[name].checkpoint) / "model.safetensors")
    body = [key for key in tensors if key.startswith(("blocks.", "final_norm."))]
    assert body and all(torch.equal(loop.model.state_dict()[key], tensors[key]) for key in body)
    events = list(loop.run())
    assert isinstance(events[0], RunStarted) and events[0].transfer is not None
    assert events[0].lineage == (sources[name],)
    last = events[-1]
    assert isinstance(last, RunFinished) and last.iteration == 2
    assert not torch.equal(loop.model.state_dict()[body[0]], tensors[body[0]])
    same_head = name == target or {name, target} == {"token_classifier", "language_model"}
    anew = any(part.what.startswith("head of") for part in events[0].transfer.new)
    assert anew != (same_head or loop.model.output is None)


@pytest.mark.parametrize("target", MODES)
def test_feature_extraction_trains_the_head_alone(target: str, sources: dict[str, Ancestor], corpus: TokenCorpus) -> None:
    mode = mode_of(target)
    made = transferring(mode, sources["token_classifier"], FROZEN, training=SHORT, validation=POOLS, model={**UNTIED, "dropout": 0.5})
    loop = loop_of(made, corpus_for(mode, corpus))
    before, head = weights(loop.model), {id(p) for p in loop.model.output.parameters()}  # type: ignore[union-attr]
    events = list(loop.run())
    assert {id(p) for group in loop.stepper.optimizer.param_groups for p in group["params"]} == head
    assert {id(p) for p in loop.stepper.optimizer.state} == head
    after = weights(loop.model)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"output.weight"} | (
        {"output.bias"} if "output.bias" in before else set()
    )
    assert all(p.grad is None for p in loop.model.parameters() if not p.requires_grad)
    started = events[0]
    assert isinstance(started, RunStarted)
    assert started.trainable == sum(p.numel() for p in loop.model.output.parameters())  # type: ignore[union-attr]


def test_feature_extraction_is_a_third_of_the_arithmetic(sources: dict[str, Ancestor], corpus: TokenCorpus) -> None:
    mode, counted = mode_of("sequence_classifier"), []
    for settings in (FROZEN, {}):
        loop = loop_of(transferring(mode, sources["token_classifier"], settings, validation=POOLS), corpus_for(mode, corpus))
        batch = loop.source.take(BatchKey(0, 0))
        with FlopCounterMode(display=False) as counter:
            loop.stepper.take(batch, 0.01)
        counted.append(counter.get_total_flops())
    assert 2.5 < counted[1] / counted[0] <= 3.5  # backward takes twice what forward does, and attention's more, since it is made again


THAWING = {**FROZEN, "unfreeze_at_iter": 8, "unfreeze_lr_factor": 0.25, "unfreeze_warmup_iters": 3, "layer_lr_decay": 0.8}


def thawing(sources: dict[str, Ancestor], **transfer: Any) -> Recipe:
    sections: dict[str, dict[str, Any]] = {"model": {**UNTIED, "dropout": 0.2}, "training": {"max_iters": 16}, "validation": POOLS}
    return transferring(mode_of("token_classifier"), sources["language_model"], THAWING | transfer, **sections)


def test_from_the_step_that_unfreezes_all_weights_are_trained(sources: dict[str, Ancestor], corpus: TokenCorpus, tmp_path: Path) -> None:
    loop, seen, before = loop_of(thawing(sources), corpus, CheckpointStore(tmp_path, {}, keep=9, beside=False)), {}, {}
    before = weights(loop.model)
    for event in loop.run():
        if isinstance(event, CheckpointSaved):
            seen[event.iteration] = weights(loop.model)
        if isinstance(event, Unfrozen):
            assert event.iteration == 8
            assert event.parameters == sum(p.numel() for p in loop.model.parameters())
            trained = {id(p) for group in loop.stepper.optimizer.param_groups for p in group["params"]}
            assert trained == {id(p) for p in loop.model.parameters()}
            assert len(loop.stepper.optimizer.state) == len(list(loop.model.output.parameters()))  # type: ignore[union-attr]
    body = [name for name in before if not name.startswith("output")]
    assert all(torch.equal(before[name], seen[8][name]) for name in body)
    assert not any(torch.equal(before[name], seen[12][name]) for name in body)


@pytest.mark.parametrize("stop", [4, 8, 12])
def test_a_resume_across_the_unfreezing_ends_with_the_same_weights(
    stop: int, sources: dict[str, Ancestor], corpus: TokenCorpus, tmp_path: Path
) -> None:
    whole = loop_of(thawing(sources), corpus)
    list(whole.run())
    for event in loop_of(thawing(sources), corpus, CheckpointStore(tmp_path, {})).run():
        if isinstance(event, CheckpointSaved) and event.iteration == stop:
            break
    gone = sources["language_model"].model_copy(update={"checkpoint": "/gone", "manifest_sha256": "0"})
    resumed = loop_of(thawing({"language_model": gone}), corpus, CheckpointStore(tmp_path, {}))
    events = list(resumed.run())
    started = events[0]
    assert isinstance(started, RunStarted) and started.iteration == stop
    assert started.transfer is not None and started.transfer.loaded
    assert [e.iteration for e in events if isinstance(e, Unfrozen)] == ([8] if stop <= 8 else [])
    one, other = weights(whole.model), weights(resumed.model)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "change", [{"unfreeze_at_iter": 9}, {"unfreeze_lr_factor": 0.5}, {"unfreeze_warmup_iters": 0}, {"layer_lr_decay": 1}]
)
def test_every_key_of_the_unfreezing_changes_the_weights(change: dict[str, Any], sources: dict[str, Ancestor], corpus: TokenCorpus) -> None:
    ends = []
    for made in (thawing(sources), thawing(sources, **change)):
        loop = loop_of(made, corpus)
        list(loop.run())
        ends.append(weights(loop.model))
    assert any(not torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_another_block_size_is_said(sources: dict[str, Ancestor], corpus: TokenCorpus) -> None:
    mode = mode_of("token_classifier")
    for size in (16, 48):
        loop = loop_of(
            transferring(mode, sources["token_classifier"], {}, training={**SHORT, "block_size": size}, validation=POOLS), corpus
        )
        assert loop.position.transfer is not None
        (note,) = loop.position.transfer.notes
        assert note.startswith(f"blocks: {size} characters, its source's 32")


def reordered(checkpoint: Path) -> None:
    """Make it one that is whole, but another."""
    (checkpoint / MANIFEST).write_text(sealed(dict(reversed(files_of(checkpoint).items()))))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "is missing"),
        (lambda path: (path / "model.safetensors").write_bytes(b"no weights"), "model.safetensors has 10 bytes"),
        (reordered, "was replaced since the run was begun"),
    ],
    ids=["gone", "altered", "another"],
)
def test_a_checkpoint_that_is_not_what_it_was_is_refused(damage: Any, message: str, corpus: TokenCorpus, tmp_path: Path) -> None:
    source = saved(mode_of("token_classifier"), corpus, tmp_path)
    damage(Path(source.checkpoint))
    with pytest.raises(CheckpointError, match=message) as caught:
        loop_of(transferring(mode_of("token_classifier"), source, {}), corpus)
    assert "\n" not in str(caught.value)


def test_weights_that_are_no_numbers_are_refused(corpus: TokenCorpus, tmp_path: Path) -> None:
    mode = mode_of("token_classifier")
    source = saved(mode, corpus, tmp_path)
    model = mode.build(recipe().model, corpus.vocabulary, None, 1)
    with torch.no_grad():
        model.final_norm.norm.weight[0] = float("nan")  # type: ignore[index]
    texts = {name: (Path(source.checkpoint) / name).read_text() for name in ("config.yaml", "vocabulary.json")}
    path = CheckpointStore(tmp_path / "nan", texts).save(3, model, {}, {"iteration": 3})
    bad = source.model_copy(update={"checkpoint": str(path), "manifest_sha256": sha256_of(path / MANIFEST)})
    with pytest.raises(CheckpointError, match=r"final_norm\.norm\.weight holds NaN or infinity"):
        loop_of(transferring(mode, bad, {}), corpus)


def _worker(rank: int, port: str, made: Recipe, corpus: Corpus, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{port}", rank=rank, world_size=2)
    events = list(loop_of(made, corpus, ranks=Ranks(rank, 2)).run())
    if rank == 0:
        torch.save(losses_of(events), out)
    dist.barrier()  # neither leaves while the other still talks
    dist.destroy_process_group()


def losses_of(events: list[Event]) -> list[float]:
    return [e.loss for e in events if isinstance(e, StepDone)]


def test_two_workers_unfreeze_as_one_does(sources: dict[str, Ancestor], corpus: TokenCorpus, tmp_path: Path) -> None:
    made = transferring(
        mode_of("token_classifier"),
        sources["language_model"],
        {**FROZEN, "unfreeze_at_iter": 3},
        model=UNTIED,
        training={"max_iters": 6, "log_interval": 1},
        validation=POOLS,
    )
    alone = losses_of(list(loop_of(made, corpus).run()))
    mp.spawn(_worker, (str(tmp_path / "rendezvous"), made, corpus, str(tmp_path / "out.pt")), nprocs=2)
    assert torch.load(tmp_path / "out.pt", weights_only=True) == pytest.approx(alone, abs=1e-5)


def test_two_workers_measure_a_head_as_one_does(sources: dict[str, Ancestor], corpus: TokenCorpus, tmp_path: Path) -> None:
    mode = SequenceClassifier(pooling="statistics")
    budget = {"max_iters": 4, "log_interval": 1, "warmup_iters": 0}
    made = transferring(mode, sources["language_model"], FROZEN, training=budget, validation=POOLS)
    rows = corpus_for(mode, corpus)
    alone = losses_of(list(loop_of(made, rows).run()))
    mp.spawn(_worker, (str(tmp_path / "rendezvous"), made, rows, str(tmp_path / "out.pt")), nprocs=2)
    assert torch.load(tmp_path / "out.pt", weights_only=True) == pytest.approx(alone, abs=1e-5)


def described_by_statistics(sources: dict[str, Ancestor], corpus: TokenCorpus, ranks: Ranks | None = None, **transfer: Any) -> Loop:
    mode = SequenceClassifier(pooling="statistics")
    made = transferring(mode, sources["token_classifier"], transfer, training=SHORT, validation=POOLS)
    return loop_of(made, corpus_for(mode, corpus), ranks=ranks)


def head_inputs(loop: Loop) -> torch.Tensor:
    """What the head of `loop` reads of the rows over which it was measured, a row at a time."""
    read: list[torch.Tensor] = []
    head = loop.model.output
    assert isinstance(head, StandardisedLinear)
    handle = head.register_forward_pre_hook(lambda _head, inputs: read.append(inputs[0]))
    rows = loop.recipe.training.rows_per_step
    for step in range(-(-ROWS // rows)):
        loop.recipe.mode.predictions(loop.model, loop.source.take(BatchKey(0, step)).inputs, 1, CPU)  # type: ignore[attr-defined]
    handle.remove()
    return torch.cat(read)


def test_a_head_is_measured_in_passes_no_larger_than_those_of_training(sources: dict[str, Ancestor], corpus: TokenCorpus) -> None:
    loop = described_by_statistics(sources, corpus, **FROZEN)
    head, training = loop.model.output, loop.recipe.training
    assert isinstance(head, StandardisedLinear) and training.rows_per_step > 2
    known, passes = head.get_buffer("deviation").clone(), list[int]()
    head.get_buffer("deviation").fill_(1.0)
    handle = head.register_forward_pre_hook(lambda _head, inputs: passes.append(len(inputs[0])))
    small = training.model_copy(update={"batch_size": 2, "gradient_accumulation_steps": training.rows_per_step // 2})
    calibrate(loop.model, loop.recipe.mode, loop.source, Ranks(), small)
    handle.remove()
    assert max(passes) == 2 and sum(passes) >= ROWS
    torch.testing.assert_close(head.get_buffer("deviation"), known, rtol=1e-4, atol=1e-6)


def test_a_head_on_statistics_knows_their_scale_before_the_first_step(sources: dict[str, Ancestor], corpus: TokenCorpus) -> None:
    loop = described_by_statistics(sources, corpus, **FROZEN)
    head, read_NF = loop.model.output, head_inputs(loop)
    assert isinstance(head, StandardisedLinear) and head.is_measured and len(read_NF) >= ROWS
    torch.testing.assert_close(head.mean, read_NF.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head.deviation, read_NF.std(0, unbiased=False).clamp(min=SMALLEST_DEVIATION), rtol=1e-3, atol=1e-5)
    standard_NF = (read_NF - head.mean) / head.deviation
    torch.testing.assert_close(head(read_NF), torch.nn.functional.linear(standard_NF, head.weight, head.bias))
    before = weights(loop.model)
    list(loop.run())
    after = weights(loop.model)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"output.weight", "output.bias"}


def test_a_head_that_is_carried_on_keeps_its_scale(sources: dict[str, Ancestor], corpus: TokenCorpus, tmp_path: Path) -> None:
    mode = SequenceClassifier(pooling="statistics")
    source = saved(mode, corpus_for(mode, corpus), tmp_path)
    carried = load_file(Path(source.checkpoint) / "model.safetensors")
    assert not carried["output.mean"].any()  # of a network that was never measured
    measured = described_by_statistics(sources, corpus)
    store = CheckpointStore(tmp_path / "measured", documents_like(source))
    kept = measured.model.state_dict()
    path = store.save(3, measured.model, {}, {"iteration": 3})
    ancestor = source.model_copy(update={"checkpoint": str(path), "manifest_sha256": sha256_of(path / MANIFEST)})
    again = loop_of(transferring(mode, ancestor, {}, training=SHORT, validation=POOLS), corpus_for(mode, corpus))
    for name in ("output.mean", "output.deviation", "output.weight"):
        assert torch.equal(again.model.state_dict()[name], kept[name]), name


def documents_like(source: Ancestor) -> dict[str, str]:
    names = ("config.yaml", "vocabulary.json", "labels.json")
    return {name: (Path(source.checkpoint) / name).read_text() for name in names}
