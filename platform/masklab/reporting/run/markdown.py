"""A run's description in Markdown, as its page in the MLflow UI shows it."""

from __future__ import annotations

from masklab.reporting.numbers import MISSING, duration, fixed, title_of, written
from masklab.reporting.run.run_info import RunInfo
from masklab.reporting.run.summary import NelboSummary, RunSummary
from masklab.reporting.tables import escaped, markdown_table

SAMPLE_CHARS = 1500


def plan_markdown(info: RunInfo) -> str:
    """The description of a run that has not finished: what it is to do."""
    return "\n\n".join([*_heading(info.curriculum, info.description, info.objective), _plan_table(info)])


def summary_markdown(summary: RunSummary) -> str:
    """The description of a finished run: the yardstick first, then its stages, what was noticed, and a sample."""
    parts = [
        *_heading(summary.curriculum, summary.description, summary.objective),
        _yardstick(summary.nelbo) + "; ".join(f"{title_of(n)} {written(n, value)}" for n, value in summary.metrics.items()) + ".",
        f"{summary.iterations:,} iterations, {summary.chars:,} characters in {duration(summary.train_seconds)} on {summary.device}; "
        f"{summary.parameters:,} parameters. {summary.finished_because}",
        _stage_table(summary),
        _pool_table(summary),
    ]
    if summary.warnings:
        parts.append("**Noticed**\n\n" + "\n".join(f"- {escaped(words)}" for words in summary.warnings))
    if summary.sample:
        fence = "`" * 4
        parts.append(f"**Sample**\n\n{fence}text\n{summary.sample[:SAMPLE_CHARS]}\n{fence}")
    return "\n\n".join(parts)


def _yardstick(nelbo: NelboSummary | None) -> str:
    if nelbo is None:
        return ""
    nats = f"{fixed(nelbo.nats, 4)} ± {fixed(nelbo.stderr, 4)} nats, {nelbo.sequences} sequences"
    return f"**{nelbo.name} {fixed(nelbo.bpc, 4)} bits per character** ({nats}); "


def _heading(curriculum: str, description: str, objective: str) -> list[str]:
    return [f"### Curriculum `{curriculum}`", *([escaped(description)] if description else []), f"Objective: {escaped(objective)}"]


def _plan_table(info: RunInfo) -> str:
    rows = [[str(i), stage.title, f"{stage.expected_ratio:.0%}"] for i, stage in enumerate(info.stages)]
    return markdown_table(["stage", "masking", "masked"], rows)


def _stage_table(summary: RunSummary) -> str:
    rows = [[str(i), s.title, _iteration(s.began_at), _iteration(s.ended_at), s.reason] for i, s in enumerate(summary.stages)]
    return markdown_table(["stage", "masking", "from", "to", "ended because"], rows)


def _pool_table(summary: RunSummary) -> str:
    names = list(summary.validation[0].final_metrics)
    rows = [
        [
            str(i),
            p.title,
            fixed(p.best_loss, 4),
            _iteration(p.best_iteration),
            fixed(p.final_loss, 4),
            *(fixed(p.final_metrics[name], 4) for name in names),
        ]
        for i, p in enumerate(summary.validation)
    ]
    return markdown_table(
        ["pool", "masking", "best loss", "at", "final loss", *(f"final {name.replace('_', ' ')}" for name in names)], rows
    )


def _iteration(value: int | None) -> str:
    return MISSING if value is None else f"{value:,}"
