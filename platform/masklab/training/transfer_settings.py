"""The configuration section of transfer: whose weights a run begins with, and which of them it trains."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from masklab.schema import Section


class Ancestor(Section):
    """A checkpoint that a run descends from."""

    run: str | None
    """Name of its run, where it lies in the folder of one."""
    checkpoint: str
    """Its folder."""
    manifest_sha256: str
    """Hash of its manifest, which holds those of all its files."""
    mode: str
    """What it predicts."""
    iteration: int
    """Its optimizer steps."""
    mlflow_run_id: str | None
    """Its run in MLflow, where it is kept there."""

    @property
    def name(self) -> str:
        """What people call it: its run, or its folder."""
        return self.run or self.checkpoint


class TransferSettings(Section):
    """Where the first weights come from, and which of them are trained."""

    init_checkpoint: str | None = None
    """Source of the initial weights and model sizes, of any mode: a run's name or folder, a checkpoint's folder, or RUN/best."""
    mode: Literal["fine_tuning", "feature_extraction"] = "fine_tuning"
    """Train all weights (fine_tuning), or only the head on frozen features (feature_extraction)."""
    unfreeze_at_iter: int | None = Field(default=None, ge=1)
    """Step at which feature_extraction starts to train all weights. If null, never."""
    unfreeze_lr_factor: float = Field(default=1.0, gt=0)
    """Learning rate of the unfrozen weights, as a factor of the head's."""
    unfreeze_warmup_iters: int = Field(default=0, ge=0)
    """Steps over which the learning rate of the unfrozen weights rises from 0."""
    layer_lr_decay: float = Field(default=1.0, gt=0, le=1)
    """Learning rate of each layer as a factor of the layer above it; the head has the full rate (Howard and Ruder 2018)."""
    lineage: tuple[Ancestor, ...] = ()
    """The checkpoint behind init_checkpoint, then those it was itself initialised from. Filled in by masklab; do not set it."""

    @property
    def source(self) -> Ancestor | None:
        """The checkpoint that the run begins with. None where its weights are drawn."""
        return self.lineage[0] if self.lineage else None

    def freezes(self, iteration: int) -> bool:
        """Whether all but the head is frozen where a run stands at `iteration`; the step that unfreezes does so as it begins."""
        return self.mode == "feature_extraction" and (self.unfreeze_at_iter is None or iteration <= self.unfreeze_at_iter)

    def thaw(self, iteration: int) -> float:
        """Factor of the rate of the unfrozen weights at step `iteration` (from 0), warm-up included; 1 where nothing was frozen."""
        if self.unfreeze_at_iter is None:
            return 1.0
        risen = (iteration - self.unfreeze_at_iter + 1) / (self.unfreeze_warmup_iters + 1)
        return self.unfreeze_lr_factor * min(1.0, max(0.0, risen))
