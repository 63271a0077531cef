"""A trained model, loaded from a checkpoint: ready to write, to score text, or to predict.

from masklab.inference.trained_model import TrainedModel

model = TrainedModel.open("bard")
print(model.fill("ROMEO:[40]night", strategy="confidence", steps=20)[0])
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

from masklab.config.checkpoints.find_checkpoint import find_checkpoint
from masklab.config.home import home_of
from masklab.config.jobs.train import Config
from masklab.errors import CheckpointError, naming
from masklab.model.transformer import Transformer
from masklab.modes.any_mode import AnyMode
from masklab.sampling.generation import generate
from masklab.sampling.judge import DetectorJudge, FoldedJudge
from masklab.sampling.sampler import Judge
from masklab.sampling.settings import SamplingSettings
from masklab.text.labels import Labels
from masklab.text.vocabulary import Vocabulary
from masklab.training.checkpoint.checkpoint import Checkpoint, load_weights
from masklab.training.precision import Precision, pick_device
from masklab.training.run_folder import RunFolder
from masklab.training.settings import ComputeSettings

Ability = Literal["writes", "fills_masks", "judges"]
"""What a job needs the model to do: the name of a flag of `Mode`."""
LACKS = {"writes": "writes no text", "fills_masks": "fills no masks", "judges": "does not judge written text"}


@dataclass(frozen=True)
class TrainedModel:
    """A model in evaluation mode on its device, with the contents of its checkpoint.

    `run` is the folder of its run, None for a checkpoint outside a run; `passed_over` says why newer checkpoints of the run were not used.
    `labels` are what it predicts, None for a mode without labels.
    """

    checkpoint: Checkpoint
    run: RunFolder | None
    passed_over: tuple[str, ...]
    config: Config
    vocabulary: Vocabulary
    iteration: int
    model: Transformer
    precision: Precision
    labels: Labels | None = None

    @classmethod
    def open(cls, reference: str, home: Path | None = None, system: ComputeSettings | None = None, able: Ability | None = None) -> Self:
        """Load what `reference` names: a run in `home`, a run's folder, or one checkpoint. Refuse a model that is not `able`.

        `home` holds `runs/`; by default it is $MASKLAB_HOME, or the current folder. Each file is compared with its SHA-256 before it is
        read. Nothing is unpickled, and the optimizer's state is not loaded. Raises RunError, CheckpointError or ResourceError.
        """
        home, system = home or home_of(Path.cwd()), system or ComputeSettings()
        found = find_checkpoint(reference, home)
        config, vocabulary, iteration = found.config(), found.vocabulary(), _iteration(found.checkpoint)
        if able and not getattr(config.mode, able):
            modes = get_args(get_args(AnyMode)[0])
            able_modes = " or ".join(mode.model_fields["type"].default for mode in modes if getattr(mode, able))
            raise CheckpointError(
                f"checkpoint {found.checkpoint.path} has mode.type={config.mode.type}, which {LACKS[able]}; take a checkpoint of "
                f"mode.type={able_modes}"
            )
        if iteration == 0:
            raise CheckpointError(
                f"checkpoint {found.checkpoint.path} is untrained: it was saved before the first step; train the run first"
            )
        precision = Precision.of(system, pick_device(system.device))
        labels = found.labels() if config.mode.labels_of else None
        model = _model(found.checkpoint, config, vocabulary, labels)
        model = model.to(precision.device).eval()
        return cls(found.checkpoint, found.run, found.passed_over, config, vocabulary, iteration, model, precision, labels)

    def fill(self, prompt: str = "", **sampling: Any) -> list[str]:
        """Texts in which the model has filled the gaps of `prompt`: `[5]` is five characters, `[*]` all the rest of its block.

        `sampling` holds keys of the section of that name, such as num_samples, seed, temperature, strategy and steps. A prompt without
        gaps is a prefix. Raises ConfigError or DataError for a prompt that does not fit the model, and ValidationError for a wrong key.
        """
        settings = SamplingSettings.model_validate(sampling | {"prompt": prompt})
        judge = self.judge(settings, home_of(Path.cwd()))
        with self.precision.autocast():
            return generate(self.model, self.vocabulary, self.block_size, settings, judge).texts(self.vocabulary)

    def judge(self, settings: SamplingSettings, home: Path) -> Judge | None:
        """The network that judges written characters, for a sampler that asks for one. Raises CheckpointError for one of another text."""
        reference = getattr(settings.sampler, "detector_checkpoint", None)
        if reference is None:
            return None
        with naming("sampling.detector_checkpoint"):
            judge = TrainedModel.open(reference, home, ComputeSettings(device=self.precision.device.type), "judges")
        if judge.vocabulary != self.vocabulary:
            raise CheckpointError(
                f"sampling.detector_checkpoint = {reference!r}: {judge.name} has other characters than {self.name}; take one of its text"
            )
        if judge.block_size < self.block_size:
            raise CheckpointError(
                f"sampling.detector_checkpoint = {reference!r}: {judge.name} was trained on blocks of {judge.block_size} characters, "
                f"fewer than the {self.block_size} of {self.name}; take one of longer blocks"
            )
        kind = FoldedJudge if judge.config.mode.fills_masks else DetectorJudge
        return kind(judge.model, judge.vocabulary.mask_id, settings.num_samples, batch_size=settings.batch_size)

    @property
    def corpus_fingerprint(self) -> str | None:
        """The fingerprint of the corpus that it was trained on; None for a checkpoint without one."""
        return str(_value(self.checkpoint, "corpus.json", "fingerprint")) if "corpus.json" in self.checkpoint.files else None

    @property
    def is_causal(self) -> bool:
        """Whether it is a language model: it writes from left to right, and its likelihood is exact."""
        return self.config.mode.causal

    @property
    def block_size(self) -> int:
        """T, the characters of the sequences that it was trained on."""
        return self.config.training.block_size

    @property
    def name(self) -> str:
        """The name of its run, or of the checkpoint's folder outside a run."""
        return self.run.path.name if self.run else self.checkpoint.path.name

    def describe(self) -> str:
        """E.g. `bard, iteration 12,500, curriculum uniform`, or `bard, iteration 2,000, language_model`."""
        mode = self.config.mode
        trained = f"curriculum {self.config.curriculum.name}" if mode.needs_masks else mode.describe()
        return f"{self.name}, iteration {self.iteration:,}, {trained}"


def _value(checkpoint: Checkpoint, file: str, key: str) -> Any:
    """The value of `key` in a JSON file of the checkpoint. Raises CheckpointError when it cannot be read."""
    try:
        return json.loads((checkpoint.path / file).read_text(encoding="utf-8"))[key]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"checkpoint {checkpoint.path}: {file} cannot be read ({type(error).__name__})") from error


def _iteration(checkpoint: Checkpoint) -> int:
    iteration = _value(checkpoint, "state.json", "iteration")
    if type(iteration) is not int or iteration < 0:
        raise CheckpointError(f"checkpoint {checkpoint.path}: state.json has iteration {iteration!r}, which is not a number of steps")
    return iteration


def _model(checkpoint: Checkpoint, config: Config, vocabulary: Vocabulary, labels: Labels | None) -> Transformer:
    """The transformer of `config` with the checkpoint's weights. Raises CheckpointError when they do not fit, or hold NaN."""
    tensors = checkpoint.tensors(config.model)
    embedding = tensors.get("embedding.weight")
    if embedding is not None and len(embedding) != vocabulary.extended_size:
        raise CheckpointError(
            f"checkpoint {checkpoint.path}: vocabulary.json has {vocabulary.size} characters, {vocabulary.extended_size} with the special "
            f"tokens, but the weights have {len(embedding)}; the file is of another checkpoint"
        )
    model = config.mode.build(config.model, vocabulary, labels)
    load_weights(model, checkpoint)
    return model
