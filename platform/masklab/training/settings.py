"""The configuration sections of training. Names that nanoGPT has too mean the same as there."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from masklab.io.paths import checked_name
from masklab.schema import Section

Workers = Annotated[int, Field(ge=1, le=100_000)]
BUDGETS = ("max_iters", "max_chars", "max_masked_chars", "max_minutes")
"""The keys of `training` that end a run."""


class RunSettings(Section):
    """Name, seed and folder of the run."""

    name: str | None = None
    """Name of the run and of its folder. If null, it is built from the curriculum's name and the start time. An existing name resumes
    that run."""
    seed: int = Field(default=1337, ge=0, lt=2**63)
    """Random seed of the initial weights, the training windows and the masks."""
    folder: str | None = None
    """Folder that holds all runs; a run is stored in its subfolder NAME. If null, `runs` in the project folder."""

    @field_validator("name")
    @classmethod
    def _one_path_component(cls, name: str | None) -> str | None:
        return None if name is None else checked_name(name)


class ObjectiveSettings(Section):
    """Cross-entropy at the selected positions: how it is weighted, then how it is reduced."""

    weighting: Literal["none", "inverse_mask_prob", "inverse_sqrt_mask_ratio", "elbo"] = "none"
    """Weight of a sequence's loss: 1, 1 / its mask probability, 1 / sqrt(its masked share), or the ELBO weight."""
    normalisation: Literal["masked_mean", "per_token", "per_sequence"] = "masked_mean"
    """Divide the summed loss by the batch's masked positions (masked_mean) or by all its positions (per_token), or average each
    sequence's mean
    over its masked positions (per_sequence)."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Probability mass of the target that is spread evenly over all classes, in training only. Where characters are predicted, these are
    all
    characters, without special tokens such as the mask."""

    def describe(self) -> str:
        """E.g. `none weighting, masked_mean`."""
        words = f"{self.weighting} weighting, {self.normalisation}"
        return f"{words}, label smoothing {self.label_smoothing:g}" if self.label_smoothing else words


class TrainingSettings(Section):
    """Budget, batch and optimizer."""

    max_iters: int | None = Field(default=None, ge=1)
    """Budget in optimizer steps. 600 if no budget is given. The run ends as soon as one of its budgets is spent."""
    max_chars: int | None = Field(default=None, ge=1)
    """Budget in characters over all workers, padding included."""
    max_masked_chars: int | None = Field(default=None, ge=1)
    """Budget in masked (predicted) characters over all workers."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Budget in minutes of the training loop, evaluations included."""
    batch_size: int = Field(default=16, ge=1)
    """Sequences (windows of block_size characters) in one forward and backward pass, over all workers."""
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    """Passes per optimizer step. The global batch is batch_size times this, for any number of workers."""
    block_size: int = Field(default=128, ge=1, le=1 << 20)
    """Characters in a sequence, which is a window of the text (T)."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Peak learning rate, reached after the warm-up."""
    warmup_iters: int = Field(default=100, ge=0)
    """Steps over which the learning rate rises linearly from 0."""
    lr_decay_iters: int | None = Field(default=None, ge=1)
    """Step at which the cosine decay reaches min_lr. If null, the end of the budget, whatever its unit."""
    min_lr: float | None = Field(default=None, ge=0)
    """Final learning rate. If null, a tenth of learning_rate."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay of AdamW, applied to matrices only."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay rate of AdamW's first moment."""
    beta2: float = Field(default=0.99, ge=0, lt=1)
    """Decay rate of AdamW's second moment."""
    grad_clip: float = Field(default=1.0, ge=0)
    """Maximum global gradient norm. 0 disables clipping."""
    eval_interval: int = Field(default=60, ge=1)
    """Steps between evaluations."""
    log_interval: int = Field(default=10, ge=1)
    """Steps between logged training metrics."""
    checkpoint_interval: int | None = Field(default=None, ge=1)
    """Steps between checkpoints. If null, one at every evaluation."""

    @model_validator(mode="before")
    @classmethod
    def _some_budget(cls, value: Any) -> Any:
        if isinstance(value, dict) and all(value.get(b) is None for b in BUDGETS):
            return value | {"max_iters": 600}
        return value

    @property
    def save_interval(self) -> int:
        return self.checkpoint_interval or self.eval_interval

    @property
    def rows_per_step(self) -> int:
        return self.batch_size * self.gradient_accumulation_steps

    @property
    def chars_per_step(self) -> int:
        return self.rows_per_step * self.block_size

    @property
    def iterations(self) -> int | None:
        """Most optimizer steps in the budget; None if it is only in masked characters or minutes, which the run itself counts."""
        held = [] if self.max_iters is None else [self.max_iters]
        held += [] if self.max_chars is None else [-(-self.max_chars // self.chars_per_step)]
        return min(held, default=None)

    @property
    def lowest_learning_rate(self) -> float:
        return self.learning_rate / 10 if self.min_lr is None else self.min_lr


class ValidationSettings(Section):
    """The fixed pools of masked windows that every evaluation scores, and those of the NELBO."""

    sequences: int = Field(default=64, ge=1)
    """Masked windows in the fixed validation pool of each stage."""
    nelbo_sequences: int = Field(default=256, ge=2)
    """Masked windows that the NELBO is estimated on at each evaluation."""
    final_nelbo_sequences: int = Field(default=4096, ge=2)
    """Masked windows that the final NELBO is estimated on."""
    seed: int = Field(default=20_240_601, ge=0, lt=2**63)
    """Random seed of the pools' masks, independent of run.seed: all runs share the pools, so that their differences are paired."""
    batch_size: int | None = Field(default=None, ge=1)
    """Windows in one forward pass of an evaluation. If null, four times training.batch_size."""


class BatchSettings(Section):
    """How batches reach the loop. None of these changes a batch."""

    producer: bool = True
    """Make batches ahead of time in an actor on each node, not in the loop. compare and tune ignore this key: their runs make
    batches in the loop."""
    chunk_steps: int = Field(default=16, ge=1)
    """Steps whose batches are sent together, as one object in Ray's object store."""
    prefetch_chunks: int = Field(default=4, ge=1)
    """Chunks requested ahead of the one in use."""
    timeout_seconds: float = Field(default=10.0, gt=0)
    """Seconds that the loop waits for a chunk before it makes those batches itself."""


class ScalingSettings(Section):
    """Workers and the resources of each."""

    num_workers: Workers | tuple[Workers, Workers] = 1
    """Data-parallel training workers. A range such as [1,4] makes the run elastic: it uses as many workers as the cluster has room for."""
    use_gpu: bool | None = None
    """Give each worker one GPU. If null, do so when the cluster has enough GPUs."""
    cpus_per_worker: int | None = Field(default=None, ge=1)
    """CPU cores (and threads) of each worker. If null, an even share of the cluster."""
    max_failures: int = Field(default=3, ge=0)
    """Maximum number of worker restarts in a row without a new checkpoint; at the next loss of a worker the run fails."""
    grace_seconds: float = Field(default=30.0, gt=0)
    """Seconds that a run has, once asked to stop, to finish its step and write a checkpoint."""
    resize_seconds: float = Field(default=30.0, gt=0)
    """Seconds between checks whether an elastic run can get more workers."""
    ray_logs: bool = False
    """Show what Ray and the workers print."""

    @field_validator("num_workers")
    @classmethod
    def _in_order(cls, workers: int | tuple[int, int]) -> int | tuple[int, int]:
        if isinstance(workers, tuple) and workers[0] > workers[1]:
            raise ValueError(f"must be the fewest and the most, as [{workers[1]},{workers[0]}]")
        return workers

    @property
    def is_elastic(self) -> bool:
        return isinstance(self.num_workers, tuple)

    @property
    def fewest(self) -> int:
        return self.num_workers[0] if isinstance(self.num_workers, tuple) else self.num_workers

    @property
    def most(self) -> int:
        return self.num_workers[1] if isinstance(self.num_workers, tuple) else self.num_workers

    def sizes(self, rows: int) -> list[int]:
        """The allowed numbers of workers, largest first, that divide a global batch of `rows` sequences."""
        return [each for each in range(self.most, self.fewest - 1, -1) if rows % each == 0]


class ComputeSettings(Section):
    """Device and number format."""

    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    """Device of the model; auto picks the best available."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Autocast format; auto is bfloat16 on a GPU that supports it and float32 elsewhere. float16 uses a gradient scaler."""


class SystemSettings(ComputeSettings):
    """How training uses the device."""

    compile: bool = False
    """Compile the model with torch.compile."""


class Ancestor(Section):
    """A checkpoint that a run descends from."""

    run: str | None
    """Name of its run, if it is in a run's folder."""
    checkpoint: str
    """Its folder."""
    manifest_sha256: str
    """Hash of its manifest, which holds the hashes of all its files."""
    mode: str
    """Type of its mode."""
    iteration: int
    """Its optimizer steps."""
    mlflow_run_id: str | None
    """Its run in MLflow, if it has one."""

    @property
    def name(self) -> str:
        return self.run or self.checkpoint


class TransferSettings(Section):
    """Where the first weights come from, and which of them are trained."""

    init_checkpoint: str | None = None
    """Source of the initial weights and model sizes: a run's name or folder, a checkpoint's folder, or RUN/best. Its mode may differ from
    this
    run's."""
    mode: Literal["fine_tuning", "feature_extraction"] = "fine_tuning"
    """Train all weights (fine_tuning), or only the head on frozen features (feature_extraction)."""
    unfreeze_at_iter: int | None = Field(default=None, ge=1)
    """Step at which feature_extraction starts to train all weights. If null, never."""
    unfreeze_lr_factor: float = Field(default=1.0, gt=0)
    """Learning rate of the unfrozen weights, as a multiple of the head's rate."""
    unfreeze_warmup_iters: int = Field(default=0, ge=0)
    """Steps over which the learning rate of the unfrozen weights rises from 0."""
    layer_lr_decay: float = Field(default=1.0, gt=0, le=1)
    """Learning rate of each layer as a multiple of the rate of the layer above it; the head has the full rate (Howard and Ruder 2018)."""
    lineage: tuple[Ancestor, ...] = ()
    """The checkpoint that init_checkpoint names, then those it was itself initialised from. Filled in by masklab; do not set it."""

    @property
    def source(self) -> Ancestor | None:
        """The checkpoint that the run begins with; None if its weights are drawn at random."""
        return self.lineage[0] if self.lineage else None

    def freezes(self, iteration: int) -> bool:
        """Whether all but the head is frozen after `iteration` steps; the step that unfreezes does so as it begins."""
        return self.mode == "feature_extraction" and (self.unfreeze_at_iter is None or iteration <= self.unfreeze_at_iter)

    def thaw(self, iteration: int) -> float:
        """Learning rate factor of the unfrozen weights at step `iteration` (from 0), warm-up included; 1 if nothing was frozen."""
        if self.unfreeze_at_iter is None:
            return 1.0
        risen = (iteration - self.unfreeze_at_iter + 1) / (self.unfreeze_warmup_iters + 1)
        return self.unfreeze_lr_factor * min(1.0, max(0.0, risen))
