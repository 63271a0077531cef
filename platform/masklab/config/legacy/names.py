"""What the parameters of nanoGPT, and of masked-training programs made from it, are called today.

Names are compared without regard to case: a dataset's own file writes `BLOCK_SIZE` where a configuration writes `block_size`.
"""

from __future__ import annotations

RENAMED = {
    "batch_size": "training.batch_size",
    "gradient_accumulation_steps": "training.gradient_accumulation_steps",
    "block_size": "training.block_size",
    "learning_rate": "training.learning_rate",
    "max_iters": "training.max_iters",
    "weight_decay": "training.weight_decay",
    "beta1": "training.beta1",
    "beta2": "training.beta2",
    "grad_clip": "training.grad_clip",
    "eval_interval": "training.eval_interval",
    "log_interval": "training.log_interval",
    "n_layer": "model.n_layer",
    "n_head": "model.n_head",
    "n_embd": "model.n_embd",
    "dropout": "model.dropout",
    "bias": "model.bias",
    "seed": "run.seed",
    "dtype": "system.dtype",
    "compile": "system.compile",
    "num_samples": "sampling.num_samples",
    "temperature": "sampling.temperature",
    "top_k": "sampling.top_k",
    "val_loss_stale_count": "curriculum.patience",
    "validation_samples_per_stage": "validation.sequences",
    "validation_batch_size": "validation.batch_size",
    "uncertainty_factor": "objective.label_smoothing",
    "num_token_classes": "mode.num_classes",
    "unmasking_model_checkpoint": "mode.generator_checkpoint",
    "unfreeze_at_iteration": "transfer.unfreeze_at_iter",
}
"""Names whose value stands as it is under the key of today."""

GONE = {
    "wandb_log": "runs are kept in MLflow, unless tracking.enabled=false",
    "wandb_project": "runs are kept in MLflow; tracking.experiment names the experiment there",
    "wandb_run_name": "runs are kept in MLflow, under run.name",
    "tensorboard_log": "runs are kept in MLflow, unless tracking.enabled=false",
    "backend": "Ray chooses how workers talk to each other; scaling.num_workers says how many there are",
    "ckpt_filename": "a run resumes by its run.name, from its newest checkpoint that verifies",
    "start_iter_num": "a run resumes by its run.name, at the step where it stopped",
    "unfreeze_lr_multiplier": "set the rate of the unfrozen layers under transfer",
    "enable_entropy_penalty": "the objective has no penalty on entropy; objective.label_smoothing is the nearest",
    "max_entropy_penalty": "the objective has no penalty on entropy",
    "entropy_penalty_start_iter": "the objective has no penalty on entropy",
    "batch_cache_size": "batches are made ahead of time, not cached; batches.prefetch_chunks says how many",
    "prefetch_buffer_size": "batches.prefetch_chunks counts chunks of batches.chunk_steps steps, not batches",
    "validation_samples_per_file": "validation pools are kept in memory, not in files",
    "special_token_offset": "room for special tokens is always reserved",
    "vocab_size": "the vocabulary is that of the text",
    "meta_vocab_size": "the vocabulary is that of the text",
    "extended_vocab_size": "the vocabulary is that of the text, with room for special tokens",
    "mask_token_id": "the mask token comes right after the vocabulary",
    "target_masked_ratio": "is a key of a stage; give a list of stages",
    "max_masked_ratio": "is a key of a stage; give a list of stages",
    "p1_probability": "is a key of a stage; give a list of stages",
    "p2_probability": "is a key of a stage; give a list of stages",
}
"""Names without a counterpart, and why."""

MODES = {
    "language_model": "language_model",
    "causal": "language_model",
    "token_classifier": "token_classifier",
    "token_classification": "token_classifier",
    "unmasking": "token_classifier",
    "replaced_token_detector": "replaced_token_detector",
    "binary_classification": "replaced_token_detector",
    "remasking": "replaced_token_detector",
    "remasking_binary": "replaced_token_detector",
    "sequence_classifier": "sequence_classifier",
    "sequence_classification": "sequence_classifier",
    "sequence_scoring": "sequence_classifier",
}
"""Values of the older names for a mode, and the mode."""
STAGE_LISTS = {
    "unmasking_stages": "curriculum.stages",
    "training_stages": "curriculum.stages",
    "stages": "curriculum.stages",
    "validation_stages": "curriculum.validation_stages",
}
"""Names of lists of stages."""
