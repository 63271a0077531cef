"""The batch producer: a stateless actor, one on each node of the training side, that makes chunks of batches ahead of time.

A chunk is a return value, so it belongs to the worker that asked for it and outlives the actor. The actor keeps nothing between
calls: a restarted one makes the same chunks.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from masklab.training.data.batch import BatchKey, pack
from masklab.training.data.batch_maker import BatchMaker
from masklab.training.recipe import Recipe


@ray.remote(num_cpus=0, max_restarts=-1)
class BatchProducer:
    """Makes the chunks of one run on one node. `corpus` arrives from the object store and is shared, not copied."""

    def __init__(self, recipe: Recipe, corpus: Any) -> None:
        self.maker: BatchMaker = recipe.batch_maker(corpus)

    def chunk(self, stage: int, first_step: int, steps: int, first_row: int, last_row: int) -> dict[str, Any]:
        """Rows `first_row` up to `last_row` of the global batches of `steps` steps, bundled."""
        keys = (BatchKey(stage, step) for step in range(first_step, first_step + steps))
        return pack([self.maker.make(key, first_row, last_row) for key in keys])


def producer_on_this_node(run: str, recipe: Recipe, corpus_ref: Any) -> Any:
    """The producer of `run` on this node, made by the first worker that asks."""
    node = ray.get_runtime_context().get_node_id()
    return BatchProducer.options(  # type: ignore[attr-defined]
        name=f"masklab-batches-{run}-{node}",
        get_if_exists=True,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    ).remote(recipe, corpus_ref)
