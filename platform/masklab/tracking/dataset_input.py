"""The text that a run reads, as MLflow's page of the run shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from masklab.io.redaction import redact

if TYPE_CHECKING:
    from masklab.text.dataset import Dataset
    from masklab.text.preparation import Corpus

DIGEST_LENGTH = 36


@dataclass(frozen=True)
class DatasetInput:
    """`fingerprint` is the corpus's; `sizes` are the characters in each split."""

    name: str
    fingerprint: str
    source: str
    sizes: Mapping[str, int]

    @classmethod
    def of(cls, dataset: Dataset, corpus: Corpus) -> DatasetInput:
        """The text of `dataset`, as it was prepared."""
        return cls(dataset.name, corpus.fingerprint, redact(str(dataset.path or dataset.name)), corpus.characters)

    def entity(self) -> Any:
        """MLflow's plain dataset entity: name, digest, source, and the sizes as a profile."""
        from mlflow import entities

        splits = {f"{split}_chars": size for split, size in self.sizes.items()}
        return entities.DatasetInput(
            dataset=entities.Dataset(
                name=self.name,
                digest=self.fingerprint[:DIGEST_LENGTH],
                source_type="local",
                source=json.dumps({"uri": redact(self.source)}),
                profile=json.dumps(splits),
            ),
            tags=[entities.InputTag("mlflow.data.context", "training")],
        )
