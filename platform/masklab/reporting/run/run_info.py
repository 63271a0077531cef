"""The facts about a run that its reports need before it starts. T positions in a block."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from masklab.curriculum.curriculum import Curriculum
from masklab.curriculum.stage import Stage
from masklab.curriculum.timetable import unreachable
from masklab.modes.mode import Mode
from masklab.text.labels import Labels
from masklab.training.settings import TrainingSettings


@dataclass(frozen=True)
class StageInfo:
    """One stage: its title, the expected share of masked positions, and the range of shares that its rows are trained at."""

    title: str
    expected_ratio: float
    ratio_range: tuple[float, float]

    @classmethod
    def of(cls, stage: Stage, block_size: int) -> StageInfo:
        masking = stage.masking
        return cls(masking.describe(), masking.expected_ratio(block_size), masking.ratio_range(block_size))


@dataclass(frozen=True)
class RunInfo:
    """A run's name, folder, curriculum and objective. `mixed[s]` lists the stages that rows come from while `s` is current."""

    name: str
    folder: Path
    curriculum: str
    description: str
    objective: str
    stages: tuple[StageInfo, ...]
    validation: tuple[StageInfo, ...]
    mixed: tuple[tuple[int, ...], ...]
    vocabulary_size: int
    started_at: float
    """Wall-clock time (seconds since the epoch) of the command."""
    eval_interval: int
    """Steps between evaluations, at which alone a stage can end."""
    unreachable: tuple[int, ...] = ()
    """Stages that cannot begin within the budget, whatever the evaluations say, as far as that is known."""
    mode: str = "token_classifier"
    """The prediction task, in words."""
    fills_masks: bool = True
    """Whether the counted positions are those that the stages mask; in other modes all count."""
    classes: tuple[str, ...] = ()
    """The names of the classes, in a mode that classifies texts."""
    browse: str | None = None
    """The command or address that shows the run in MLflow; None when it is not kept there."""

    @classmethod
    def of(
        cls,
        *,
        name: str,
        folder: Path,
        curriculum: Curriculum,
        mode: Mode,
        objective: str,
        training: TrainingSettings,
        vocabulary_size: int,
        started_at: float,
        labels: Labels | None = None,
        browse: str | None = None,
    ) -> RunInfo:
        """The info of a run that trains `curriculum` by the settings of `training` on text of `vocabulary_size` characters."""
        block_size, iterations = training.block_size, training.iterations
        return cls(
            name=name,
            folder=folder,
            curriculum=curriculum.name,
            description=curriculum.description,
            objective=objective,
            stages=tuple(StageInfo.of(stage, block_size) for stage in curriculum.stages),
            validation=tuple(StageInfo.of(stage, block_size) for stage in curriculum.pools),
            mixed=tuple(curriculum.mixed_stages(s) for s in range(len(curriculum.stages))),
            vocabulary_size=vocabulary_size,
            started_at=started_at,
            eval_interval=training.eval_interval,
            unreachable=unreachable(curriculum, iterations, training.eval_interval) if iterations is not None else (),
            mode=mode.describe(),
            fills_masks=mode.fills_masks,
            classes=labels.names if labels else (),
            browse=browse,
        )

    def target_ratio(self, stage: int) -> float:
        """The expected share of masked positions in batches while `stage` is current; 1 in a mode that fills no masks."""
        if not self.fills_masks:
            return 1.0
        mixed = self.mixed[stage]
        return sum(self.stages[s].expected_ratio for s in mixed) / len(mixed)

    def pools_match_stages(self) -> bool:
        return self.stages == self.validation
