"""A tiny trained model in a run's folder, as the tests of checkpoints and of the jobs that use them need it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from masklab.config.compose.yaml_io import dump, validated
from masklab.config.jobs.train import Config
from masklab.text.preparation import Corpus, corpus_for
from masklab.training.checkpoint.manifest import MANIFEST, files_of, sealed, sha256_of
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.data.batch_maker import LocalSource
from masklab.training.loop import Loop
from masklab.training.precision import Precision
from masklab.training.ranks import Ranks
from masklab.training.recipe import Worker
from masklab.training.run_folder import RunFolder


def config_for(text: Path, **sections: dict[str, Any]) -> Config:
    """Two layers of 32 channels on blocks of 32 characters of `text`."""
    tree: dict[str, dict[str, Any]] = {
        "run": {"name": "tiny"},
        "dataset": {"name": "tiny", "source": "text", "path": str(text)},
        "curriculum": {"name": "two", "stages": [{"type": "random", "max_ratio": 0.5, "max_iters": 8}, {"type": "diffusion"}]},
        "model": {"n_layer": 2, "n_head": 2, "n_embd": 32},
        "training": {"max_iters": 20, "batch_size": 4, "block_size": 32, "eval_interval": 10, "warmup_iters": 2, "learning_rate": 1e-2},
        "validation": {"sequences": 6, "nelbo_sequences": 8, "final_nelbo_sequences": 8},
        "system": {"device": "cpu"},
    }
    return validated({name: tree.get(name, {}) | sections.get(name, {}) for name in tree.keys() | sections.keys()})


def train_into(home: Path, config: Config) -> RunFolder:
    """Train `config` in this process; its checkpoints lie where a run's do."""
    assert config.run.name
    corpus = corpus_for(config.dataset, home / ".corpora")
    run = RunFolder(home / "runs" / config.run.name)
    run.begin(dump(config))
    recipe = config.recipe
    source = LocalSource(recipe.batch_maker(corpus), *Ranks().part(recipe.training.rows_per_step))
    store = CheckpointStore(run.checkpoints, documents(config, corpus))
    precision = Precision.of(recipe.system, torch.device("cpu"))
    worker = Worker(recipe, corpus.vocabulary, precision, corpus.labels)
    for _ in Loop(worker, recipe.pools(corpus), source, store).run():
        pass
    return run


def documents(config: Config, corpus: Corpus) -> dict[str, str]:
    """What a run puts into each of its checkpoints, beside the state."""
    found = {
        "config.yaml": dump(config),
        "vocabulary.json": json.dumps(corpus.vocabulary.to_json()),
        "corpus.json": json.dumps({"fingerprint": corpus.fingerprint}),
    }
    return found | ({"labels.json": json.dumps(corpus.labels.to_json())} if corpus.labels else {})


def copy_of(run: RunFolder, home: Path, name: str = "tiny") -> RunFolder:
    """A copy of the run in another home, to be damaged."""
    shutil.copytree(run.path, home / "runs" / name)
    return RunFolder(home / "runs" / name)


def newest(run: RunFolder) -> Path:
    """The folder of the newest checkpoint."""
    return max(run.checkpoints.iterdir())


def forge(checkpoint: Path, **contents: str | bytes | None) -> None:
    """Replace files, named with `_` for `.`, and put the manifest right; None takes a file away."""
    files = files_of(checkpoint)
    for key, content in contents.items():
        file = checkpoint / key.replace("_", ".")
        files.pop(file.name, None)
        if content is None:
            file.unlink()
            continue
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        files[file.name] = {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
    (checkpoint / MANIFEST).write_text(sealed(files))
