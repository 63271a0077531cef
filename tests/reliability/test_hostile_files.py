"""A hundred hostile files and configurations: nothing runs, nothing is written elsewhere, and no secret is in any output."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bad_input import Victim
from hostile import ADDRESSES, HTML, IN_ADDRESSES, SECRETS, WEIGHTS, pickles, texts
from trained_run import copy_of, forge, newest

from masklab.errors import CheckpointError, DataError, UserError
from masklab.inference.trained_model import TrainedModel
from masklab.text.dataset import Dataset
from masklab.text.preparation import corpus_for
from masklab.training.checkpoint.checkpoint import load_optimizer
from masklab.training.checkpoint.manifest import MANIFEST
from masklab.training.optimizer import restore
from masklab.training.run_folder import RunFolder
from masklab.training.settings import ComputeSettings

pytestmark = pytest.mark.timeout(120)
CPU = ComputeSettings(device="cpu")
NOWHERE = Path("canary")
CASES: list[str] = []


@pytest.fixture(autouse=True)
def canary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> Iterator[Path]:
    """A file that only what ran could make. Afterwards no secret may be in what was printed, or in any file."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    CASES.append(request.node.name)
    yield tmp_path / "canary"
    assert not (tmp_path / "canary").exists()
    printed = "".join(capfd.readouterr()).encode()
    kept = [printed, *(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file() and not file.is_symlink())]
    for secret in (*SECRETS.values(), *IN_ADDRESSES):
        assert not any(secret.encode() in content for content in kept), secret


def refused(error: type[UserError], call: Callable[[], Any], words: str | None = None) -> None:
    with pytest.raises(error, match=words) as caught:
        call()
    assert len(str(caught.value)) < 2000


@pytest.fixture
def run(trained: RunFolder, tmp_path: Path) -> RunFolder:
    return copy_of(trained, tmp_path)


def opened(run: RunFolder) -> TrainedModel:
    return TrainedModel.open("tiny", run.path.parents[1], CPU)


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights(run: RunFolder, name: str) -> None:
    forge(newest(run), model_safetensors=WEIGHTS[name])
    refused(CheckpointError, lambda: opened(run), "model.safetensors|architecture")


@pytest.mark.parametrize("name", pickles(NOWHERE))
def test_pickles_as_weights_and_as_an_optimizers_state(run: RunFolder, canary: Path, name: str) -> None:
    content = pickles(canary)[name]
    forge(newest(run), model_safetensors=content)
    refused(CheckpointError, lambda: opened(run), "model.safetensors")
    (newest(run) / "optimizer.pt").write_bytes(content)
    refused(CheckpointError, lambda: load_optimizer(newest(run) / "optimizer.pt"), "optimizer.pt")


@pytest.mark.parametrize("name", pickles(NOWHERE))
def test_pickles_as_a_vocabulary(tmp_path: Path, canary: Path, name: str) -> None:
    folder = tmp_path / "nanogpt"
    folder.mkdir()
    for split in ("train.bin", "val.bin"):
        (folder / split).write_bytes(bytes(400))
    (folder / "meta.pkl").write_bytes(pickles(canary)[name])
    refused(DataError, lambda: corpus_for(Dataset(name="x", source="nanogpt", path=str(folder)), tmp_path / "corpora"), "meta.pkl")
    assert not (tmp_path / "corpora").exists()


@pytest.mark.parametrize("name", texts(NOWHERE))
def test_texts_as_a_curriculum_and_as_the_config_of_a_checkpoint(run: RunFolder, tmp_path: Path, canary: Path, name: str) -> None:
    text = texts(canary)[name]
    victim = Victim.in_folder(tmp_path / "bad", groups=["text"])
    kind, sign = ("experiment", "+") if "defaults" in name else ("curriculum", "")
    folder = {"curriculum": "curricula", "experiment": "jobs/conf/experiment"}[kind]
    (victim.root / folder / "bad.yaml").write_text(text)
    assert victim.call([*victim.plain_text, f"{sign}{kind}=bad"])
    forge(newest(run), config_yaml=text)
    refused(CheckpointError, lambda: opened(run), "config.yaml")


@pytest.mark.parametrize("sizes", ["n_layer: 10000", "n_embd: 1000000", "n_layer: 9000000000000"])
def test_a_config_of_a_model_that_no_memory_holds(run: RunFolder, sizes: str) -> None:
    key, _, value = sizes.partition(": ")
    lines = (newest(run) / "config.yaml").read_text().splitlines()
    changed = [f"  {key}: {value}" if line.strip().startswith(f"{key}:") else line for line in lines]
    forge(newest(run), config_yaml="\n".join(changed))
    refused(CheckpointError, lambda: opened(run), "architecture|n_layer|n_embd")


@pytest.mark.parametrize(
    "manifest",
    [
        '{"format": 99, "files": {}}',
        '{"format": "${oc.env:HF_TOKEN}", "files": {}}',
        '{"format": 1, "files": {"../../x": {}}}',
        "[" * 10**5,
    ],
)
def test_manifests_and_numbers_of_formats(run: RunFolder, manifest: str) -> None:
    for folder in run.checkpoints.iterdir():
        (folder / MANIFEST).write_text(manifest)
    refused(CheckpointError, lambda: opened(run))


@pytest.mark.parametrize("what", ["manifest", "weights", "checkpoints", "config.yaml", "figures", "run"])
def test_links_out_of_a_run_are_refused(run: RunFolder, tmp_path: Path, what: str) -> None:
    place = {"manifest": newest(run) / MANIFEST, "weights": newest(run) / "model.safetensors", "run": run.path}.get(what, run.path / what)
    for folder in run.checkpoints.iterdir():
        if what in ("manifest", "weights") and folder != newest(run):
            folder.rename(tmp_path / folder.name)
    elsewhere = tmp_path / "elsewhere"
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    refused(UserError, lambda: opened(run), "link")


PLACES: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": lambda path: path.mkdir(),
    "dangling": lambda path: path.symlink_to(path.parent / "nothing"),
    "loop": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("name", ["x.txt", "x.gz", "x.csv", "x.parquet"])
def test_what_is_no_plain_file_ends_at_once_in_a_line(tmp_path: Path, kind: str, name: str) -> None:
    PLACES[kind](tmp_path / name)
    labelled = name.endswith((".csv", ".parquet"))
    dataset = Dataset(name="x", source="labelled" if labelled else "text", path=str(tmp_path / name))
    refused(DataError, lambda: corpus_for(dataset, tmp_path / "corpora"))


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_with_secrets(tmp_path: Path, address: str) -> None:
    from mlflow_runs import start_run

    from masklab.config.command_line.main import main
    from masklab.config.compose.composition import compose
    from masklab.config.compose.yaml_io import dump
    from masklab.tracking.mlflow_store import Store
    from masklab.tracking.provenance import DatasetInput

    victim = Victim.in_folder(tmp_path / "bad", groups=["text"])
    words = [*victim.plain_text, "tracking.enabled=true", f"tracking.uri='{address}'", f"curriculum.description='see {address}'"]
    line = victim.call(words)
    print(line)
    assert "127.0.0.1:9" in line
    assert main("train", "", lambda config: 0, victim.root, [*words, "--cfg", "job"]) == 0
    config = compose(words, victim.root)
    RunFolder(tmp_path / "run").begin(dump(config))
    RunFolder.claim(tmp_path, "run", config.model_dump(mode="json"))
    store = Store(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    text = DatasetInput(name="x", fingerprint="ab" * 32, source=address, sizes={"train": 1})
    facts = {"params": config.model_dump(mode="json"), "tags": {"from": address}, "description": address}
    start_run(store, "masklab", run_name="x", datasets=[text], **facts)

    def fails(config: Any) -> int:
        raise RuntimeError(f"at {address} with {' '.join(SECRETS.values())}")

    assert main("train", "", fails, victim.root, words) == 1


@pytest.mark.parametrize("words", HTML)
def test_pages_and_markdown_hold_no_elements_but_their_own(words: str) -> None:
    from masklab.reporting.comparison.blocks import Bullets, Heading, Paragraph, Table, markdown, page
    from masklab.reporting.unmasking.html import page as unmasking
    from masklab.sampling.trace import Snapshot, Trace
    from masklab.text.vocabulary import Vocabulary

    blocks = [Heading(words), Paragraph(words), Bullets((words,)), Table((words,), ((words,),))]
    vocabulary = Vocabulary.of_text(words)
    tokens = vocabulary.encode(words).astype(np.int64)[None]
    written = Snapshot(0, tokens, np.zeros_like(tokens), np.ones(tokens.shape), np.zeros(1, np.int64))
    trace = Trace(np.ones(tokens.shape, bool), vocabulary.mask_id, (written,))
    pages = (page(blocks, words), markdown(blocks, "report"), unmasking(trace, vocabulary, words, {words: words}))
    for text in pages:
        assert not any(tag in text for tag in ("<script>alert", "<img", "<svg onload", "<iframe"))


def test_moments_of_another_model_are_refused() -> None:
    def optimizer(*shape: int) -> torch.optim.Optimizer:
        weight = torch.nn.Parameter(torch.zeros(shape))
        made = torch.optim.AdamW([{"params": [weight], "lr_factor": 1.0, "unfrozen": False}])
        weight.grad = torch.ones(shape)
        made.step()
        return made

    refused(CheckpointError, lambda: restore(optimizer(2, 3), optimizer(3, 2).state_dict()), "of another model")
    refused(CheckpointError, lambda: restore(optimizer(2, 3), {"state": {}, "param_groups": [{"params": [0, 1]}]}), "of another model")
    refused(CheckpointError, lambda: restore(optimizer(2, 3), {"state": []}), "cannot be read")


def test_a_hundred_cases_were_held(told: Callable[[str], None]) -> None:
    told(f"hostile files and configurations: {len(CASES)} cases, 0 canaries, 0 secrets")
    assert len(CASES) >= 100
