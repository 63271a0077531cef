"""A run's summary at the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from masklab.reporting.numbers import duration, fixed, si, title_of, written
from masklab.reporting.run.summary import NelboSummary, RunSummary

SAMPLE_CHARS = 600


def summary_block(summary: RunSummary) -> RenderableType:
    """The end of a run: yardstick, stages, what was noticed, a sample, and where everything lies."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    rows = [
        *_yardstick(summary.nelbo),
        *((title_of(name), Text(written(name, value))) for name, value in summary.metrics.items()),
        ("trained", Text(f"{summary.iterations:,} iterations, {si(summary.chars)} characters in {duration(summary.train_seconds)}")),
        ("first step after", Text(duration(summary.seconds_to_first_step))),
        ("ended because", Text(summary.finished_because)),
        ("run folder", Text(summary.folder)),
    ]
    if summary.browse:
        rows.append(("browse", Text(summary.browse, style="bold")))
    for name, words in rows:
        facts.add_row(name, words)
    parts: list[RenderableType] = [Text(""), Text(f"{summary.name}: curriculum {summary.curriculum}", style="bold"), facts, Text("")]
    parts += [_stages_table(summary), Text(""), _pools_table(summary), Text("")]
    for warning in summary.warnings:
        parts.append(Padding(Text.assemble(("notice  ", "bold yellow"), warning), (0, 0, 1, 0)))
    if summary.sample:
        sample = Text(summary.sample[:SAMPLE_CHARS].strip("\n"))  # a Text, since brackets in it are no markup
        parts.append(Panel(sample, title="sample", title_align="left", border_style="dim"))
    return Group(*parts)


def _yardstick(nelbo: NelboSummary | None) -> list[tuple[str, Text]]:
    if nelbo is None:
        return []
    error = fixed(None if nelbo.stderr is None or not nelbo.nats else nelbo.stderr * (nelbo.bpc or 0) / nelbo.nats, 4)
    bits = Text(f"{fixed(nelbo.bpc, 4)} ± {error} bits per character", style="bold")
    return [(nelbo.name, bits.append(f"   ({fixed(nelbo.nats, 4)} ± {fixed(nelbo.stderr, 4)} nats)", style="not bold"))]


def _stages_table(summary: RunSummary) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("training stage", overflow="fold", ratio=2)
    table.add_column("iterations", justify="right", no_wrap=True)
    table.add_column("ended because", overflow="fold", ratio=3)
    for i, stage in enumerate(summary.stages):
        reached = stage.began_at is not None
        span = f"{stage.began_at:,} to {stage.ended_at:,}" if reached and stage.ended_at is not None else "–"
        table.add_row(Text(f"{i} {stage.title}"), span, Text(stage.reason), style="" if reached else "dim")
    return table


def _pools_table(summary: RunSummary) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("validation stage", overflow="fold")
    names = list(summary.validation[0].final_metrics)[:3]
    for name in ("best loss", "at", "final loss", *map(title_of, names)):
        table.add_column(name, justify="right", no_wrap=True)
    for i, pool in enumerate(summary.validation):
        at = "–" if pool.best_iteration is None else f"{pool.best_iteration:,}"
        others = (written(name, pool.final_metrics[name]) for name in names)
        table.add_row(Text(f"{i} {pool.title}"), fixed(pool.best_loss, 4), at, fixed(pool.final_loss, 4), *others)
    return table
