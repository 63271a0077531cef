"""A training run that has passed every check that needs no cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from masklab.config.checkpoints.checkpoint_keys import with_generator
from masklab.config.home import run_name, runs_folder
from masklab.config.jobs.train import Config
from masklab.reporting.run.run_info import RunInfo
from masklab.sampling.generation import start_of
from masklab.text.preparation import Corpus, corpus_for
from masklab.tracking.mlflow_run import RunHandle
from masklab.tracking.mlflow_store import Store
from masklab.training.data.validation_pools import Pools
from masklab.training.folder_lock import refuse_if_driven
from masklab.training.recipe import Recipe
from masklab.training.run_folder import RunFolder
from masklab.training.settings import Ancestor


@dataclass(frozen=True)
class Plan:
    """The checked configuration of a run, its data, and where it is kept."""

    config: Config
    folder: RunFolder
    recipe: Recipe
    corpus: Corpus
    pools: Pools
    store: Store | None
    started_at: float

    @classmethod
    def of(cls, config: Config, home: Path, started_at: float) -> Plan:
        """Check config, text, run folder and tracking store. Raises a UserError for whatever is wrong; writes only the corpus."""
        name = run_name(config.run, config.curriculum.name, started_at)
        config = with_generator(config.model_copy(update={"run": config.run.model_copy(update={"name": name})}), home)
        folder = RunFolder.claim(runs_folder(config.run, home), name, config.model_dump(mode="json"))
        refuse_if_driven(folder.path)
        store = Store.of(config.tracking, home) if config.tracking.is_sent else None
        corpus = corpus_for(config.dataset, home / ".corpora")
        recipe = config.recipe
        recipe.batch_maker(corpus)
        if config.mode.writes:
            start_of(config.sampling, corpus.vocabulary, config.training.block_size)
        pools = recipe.pools(corpus)
        if config.transfer.source:
            _check_source(config.transfer.source, folder)
        if store:
            store.check()
        return cls(config, folder, recipe, corpus, pools, store, started_at)

    @property
    def name(self) -> str:
        return self.folder.path.name

    def info(self, handle: RunHandle | None) -> RunInfo:
        """The facts about the run that its reports need; with an address in MLflow once `handle` is known."""
        return RunInfo.of(
            name=self.name,
            folder=self.folder.path,
            curriculum=self.config.curriculum,
            mode=self.config.mode,
            objective=self.config.objective.describe(),
            training=self.config.training,
            vocabulary_size=self.corpus.vocabulary.size,
            started_at=self.started_at,
            labels=self.corpus.labels,
            browse=self.store.browse(handle.experiment_id, handle.run_id) if self.store and handle else None,
        )


def _check_source(source: Ancestor, folder: RunFolder) -> None:
    """Raise CheckpointError unless the initial weights are there, unchanged; a run with its own checkpoint no longer needs them."""
    from masklab.training.checkpoint.store import CheckpointStore
    from masklab.training.initial_weights import InitialWeights

    if not CheckpointStore(folder.checkpoints, {}).newest():
        InitialWeights.read(source)
