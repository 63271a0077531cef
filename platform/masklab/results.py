"""Runs and comparisons for a notebook or a script: `load("my-comparison").runs`, and the statistics and plots of a comparison's report.

Tables are pandas data frames. Columns from MLflow start with `params.`, `metrics.` or `tags.`, as in MLflow's own tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from masklab.comparison.contrast import contrasts
from masklab.comparison.outcomes import Outcomes
from masklab.config.home import home_of
from masklab.config.jobs.tracking import StoreSettings
from masklab.errors import RunError, TrackingError, did_you_mean
from masklab.reporting.comparison.findings import Findings
from masklab.reporting.comparison.plots import dots_to_baseline, forest_plot, matrix_plot, paired_plot, picture, reach_plot
from masklab.reporting.comparison.verdict_text import headline, sentence
from masklab.tracking.metrics import FINAL_NELBO, STAGE, VAL_STAGE
from masklab.tracking.mlflow_run import PARENT_TAG, client_of, in_one_line, search_runs
from masklab.tracking.mlflow_store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

__all__ = [
    "Findings",
    "Outcomes",
    "Results",
    "contrasts",
    "dots_to_baseline",
    "forest_plot",
    "headline",
    "load",
    "matrix_plot",
    "paired_plot",
    "picture",
    "reach_plot",
    "sentence",
]

PROJECT = Path(__file__).resolve().parents[2]
REMEDY = "check uri=, home= or MLFLOW_TRACKING_URI"
FACTS = ("run", "name", "experiment", "status", "started", "parent", "arm", "seed")


@dataclass(frozen=True)
class Results:
    """Some runs of the store at `uri`.

    `runs` has one row per run: run (its id), name, experiment, status, started, parent (a run's id), arm and seed, then params, last
    metric values and tags. A run with children, such as a comparison, has no arm and no seed.
    """

    uri: str = field(repr=False)
    runs: pd.DataFrame
    folder: Path
    """The folder that a run of the requested name has."""

    def metrics(self, *names: str) -> pd.DataFrame:
        """All logged values of the metrics `names` (default: all metrics), with columns run, arm, seed, metric, step, value.

        Raises RunError for a metric that no run has, and TrackingError if the store fails.
        """
        logged = {column.removeprefix("metrics.") for column in self.runs if column.startswith("metrics.")}
        for name in names:
            if name not in logged:
                raise RunError(
                    f"{name}: no run has such a metric{did_you_mean(name, logged)}; the runs have {', '.join(sorted(logged)) or 'none'}"
                )
        with in_one_line(self.uri, REMEDY):
            rows = list(self._points(client_of(self.uri), names or sorted(logged)))
        return pd.DataFrame(rows, columns=["run", "arm", "seed", "metric", "step", "value"])

    def stages(self) -> pd.DataFrame:
        """Each validation pool at each evaluation: run, arm, seed, step, stage (the one in training), pool, loss, accuracy.

        Raises TrackingError if the store fails.
        """
        logged = [column.removeprefix("metrics.") for column in self.runs if column.startswith("metrics.")]
        wanted = [name for name in logged if name == STAGE or name.startswith((f"{VAL_STAGE}loss/", f"{VAL_STAGE}accuracy/"))]
        points = self.metrics(*wanted).to_dict("records") if wanted else []
        stage = {(row["run"], row["step"]): int(row["value"]) for row in points if row["metric"] == STAGE}
        scores: dict[tuple[Any, ...], dict[str, float]] = {}
        for row in points:
            kind, _, pool = row["metric"].removeprefix(VAL_STAGE).partition("/")
            if kind in ("loss", "accuracy"):
                key = (row["run"], row["arm"], row["seed"], row["step"], stage.get((row["run"], row["step"])), int(pool))
                scores.setdefault(key, {})[kind] = row["value"]
        rows = [(*key, by.get("loss"), by.get("accuracy")) for key, by in scores.items()]
        columns = ["run", "arm", "seed", "step", "stage", "pool", "loss", "accuracy"]
        return pd.DataFrame(rows, columns=columns).sort_values(["run", "step", "pool"], ignore_index=True)

    def outcomes(self, metric: str = FINAL_NELBO, unit: str = "nats per character") -> Outcomes:
        """The last value of a metric by arm and seed, for `contrasts`; None for a run that did not finish.

        Raises RunError for a metric that no run has, and if two runs have the same arm and seed.
        """
        column = f"metrics.{metric}"
        if column not in self.runs:
            raise RunError(f"{metric}: no run has such a metric")
        runs = self.runs.dropna(subset=["arm", "seed"])
        if (twice := runs[runs.duplicated(["arm", "seed"])]).shape[0]:
            raise RunError(f"{twice.arm.iloc[0]} has two runs with seed {twice.seed.iloc[0]}; load one comparison by its name")
        values: dict[str, dict[int, float | None]] = {}
        for arm, seed, status, value in zip(runs.arm, runs.seed, runs.status, runs[column], strict=True):
            values.setdefault(arm, {})[int(seed)] = float(value) if status == "FINISHED" and pd.notna(value) else None
        return Outcomes.of(values, unit)

    def findings(self) -> Findings:
        """The records of the comparison of the requested name. Raises RunError if its folder has none."""
        return Findings.read(self.folder)

    def _points(self, client: MlflowClient, names: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        for row in self.runs.to_dict("records"):
            for name in names:
                if pd.notna(row.get(f"metrics.{name}")):
                    history = sorted(client.get_metric_history(row["run"], name), key=lambda point: (point.step, point.timestamp))
                    yield from ((row["run"], row["arm"], row["seed"], name, point.step, point.value) for point in history)


def load(name: str | None = None, *, uri: str | None = None, home: str | Path | None = None) -> Results:
    """The runs of the experiment `name`, or the newest run of that name (or id) with its children. Without a name: all runs.

    The store is `uri`, else MLFLOW_TRACKING_URI, else the one in `home` (default: MASKLAB_HOME, else the project). Raises RunError if
    nothing has that name, and TrackingError if there is no store or it cannot be reached.
    """
    place = Path(home).expanduser().absolute() if home else home_of(PROJECT)
    store = Store.of(StoreSettings(uri=uri), place)
    if store.is_local and not store.database.exists():
        raise TrackingError(f"there is no store at {store.database}; train something first, or give uri= or home=")
    store.check()
    with in_one_line(store.uri, REMEDY):
        client = client_of(store.uri)
        experiments = {e.experiment_id: e.name for e in client.search_experiments()}
        runs = _named(client, experiments, name) if name else search_runs(client, list(experiments))
    return Results(store.uri, _table(runs, experiments), place / "runs" / (name or ""))


def _named(client: MlflowClient, experiments: dict[str, str], name: str) -> list[Run]:
    if name in experiments.values():
        return search_runs(client, [number for number, known in experiments.items() if known == name])
    quoted = f"'{name}'" if "'" not in name else f'"{name}"'
    found = [] if "'" in name and '"' in name else search_runs(client, list(experiments), f"attributes.run_name = {quoted}")
    found = found or [run for run in search_runs(client, list(experiments)) if run.info.run_id == name]
    if not found:
        known = {*experiments.values(), *(str(run.info.run_name) for run in search_runs(client, list(experiments)))}
        raise RunError(f"{name}: no such experiment, run or comparison in the store{did_you_mean(name, known)}")
    newest = max(found, key=lambda run: run.info.start_time)
    return [newest, *search_runs(client, list(experiments), f"tags.`{PARENT_TAG}` = '{newest.info.run_id}'")]


def _table(runs: list[Run], experiments: dict[str, str]) -> pd.DataFrame:
    parents = {run.data.tags.get(PARENT_TAG) for run in runs}
    rows = [_row(run, experiments, run.info.run_id in parents) for run in runs]
    frame = pd.DataFrame(rows, columns=list(dict.fromkeys((*FACTS, *(name for row in rows for name in row)))))
    return frame.astype({"seed": "Int64"})


def _row(run: Run, experiments: dict[str, str], has_children: bool) -> dict[str, Any]:
    params = {} if has_children else run.data.params
    seed = params.get("seed", params.get("run.seed"))
    kinds = {"params": run.data.params, "metrics": run.data.metrics, "tags": run.data.tags}
    return {
        "run": run.info.run_id,
        "name": run.info.run_name,
        "experiment": experiments[run.info.experiment_id],
        "status": run.info.status,
        "started": pd.Timestamp(run.info.start_time, unit="ms", tz="UTC"),
        "parent": run.data.tags.get(PARENT_TAG),
        "arm": params.get("arm", params.get("curriculum.name")),
        "seed": int(seed) if seed and seed.isdecimal() else None,
        **{f"{kind}.{name}": value for kind, values in kinds.items() for name, value in sorted(values.items())},
    }
