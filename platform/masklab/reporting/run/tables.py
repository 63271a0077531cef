"""A run in tables: its summary at the terminal, its transferred weights, and its description in Markdown for the MLflow UI."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from masklab.reporting.numbers import MISSING, duration, fixed, si, title_of, written
from masklab.reporting.run.run_info import RunInfo
from masklab.reporting.run.summary import NelboSummary, RunSummary
from masklab.reporting.tables import escaped, markdown_table
from masklab.training.events import RunStarted

TERMINAL_SAMPLE, MARKDOWN_SAMPLE = 600, 1500
"""Characters of the sample that are shown."""


def summary_block(summary: RunSummary) -> RenderableType:
    """The end of a run: NELBO, stages, validation, warnings, a sample and the run folder."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    rows = [
        *_nelbo_rows(summary.nelbo),
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
        sample = Text(summary.sample[:TERMINAL_SAMPLE].strip("\n"))  # a Text, since brackets in it are no markup
        parts.append(Panel(sample, title="sample", title_align="left", border_style="dim"))
    return Group(*parts)


def _nelbo_rows(nelbo: NelboSummary | None) -> list[tuple[str, Text]]:
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


def transfer_table(event: RunStarted) -> RenderableType:
    """Number of parameters in total, trained and frozen; then which weights were loaded, new or left out."""
    trainable = event.parameters if event.trainable is None else event.trainable
    table = Table.grid(padding=(0, 2))
    for justify in ("left", "right", "right", "left"):
        table.add_column(justify=justify)
    for name, count in (("total", event.parameters), ("trained", trainable), ("frozen", event.parameters - trainable)):
        table.add_row(f"  {name}", f"{count:,}", _share(count / event.parameters), "parameters")
    if event.transfer is not None:
        for name in ("loaded", "new", "left"):
            for part in getattr(event.transfer, name):
                table.add_row(f"  {name}", f"{part.parameters:,}", "", Text(part.what))
    lines: list[RenderableType] = [Text(f"  {note}", style="dim") for note in (event.transfer.notes if event.transfer else ())]
    return Group(*_origin(event), table, *lines)


def _share(share: float) -> str:
    """Per cent; a share that is not 0 or 1 is never rounded to 0 % or 100 %."""
    if 0 < share < 0.0005:
        return "< 0.1%"
    return "> 99.9%" if 0.9995 < share < 1 else f"{share:.1%}"


def _origin(event: RunStarted) -> list[RenderableType]:
    """E.g. `begins with bard, iteration 1,000 (token_classifier), which began with ...`."""
    if not event.lineage:
        return []
    words = [f"{a.name}, iteration {a.iteration:,} ({a.mode})" for a in event.lineage]
    return [Text(f"  begins with {', which began with '.join(words)}")]


def plan_markdown(info: RunInfo) -> str:
    """The description of a run that has not finished: its plan."""
    return "\n\n".join([*_heading(info.curriculum, info.description, info.objective), _plan_markdown(info)])


def summary_markdown(summary: RunSummary) -> str:
    """The description of a finished run: NELBO first, then stages, warnings and a sample."""
    parts = [
        *_heading(summary.curriculum, summary.description, summary.objective),
        _nelbo_words(summary.nelbo) + "; ".join(f"{title_of(n)} {written(n, value)}" for n, value in summary.metrics.items()) + ".",
        f"{summary.iterations:,} iterations, {summary.chars:,} characters in {duration(summary.train_seconds)} on {summary.device}; "
        f"{summary.parameters:,} parameters. {summary.finished_because}",
        _stages_markdown(summary),
        _pools_markdown(summary),
    ]
    if summary.warnings:
        parts.append("**Noticed**\n\n" + "\n".join(f"- {escaped(words)}" for words in summary.warnings))
    if summary.sample:
        fence = "`" * 4
        parts.append(f"**Sample**\n\n{fence}text\n{summary.sample[:MARKDOWN_SAMPLE]}\n{fence}")
    return "\n\n".join(parts)


def _nelbo_words(nelbo: NelboSummary | None) -> str:
    if nelbo is None:
        return ""
    nats = f"{fixed(nelbo.nats, 4)} ± {fixed(nelbo.stderr, 4)} nats, {nelbo.sequences} sequences"
    return f"**{nelbo.name} {fixed(nelbo.bpc, 4)} bits per character** ({nats}); "


def _heading(curriculum: str, description: str, objective: str) -> list[str]:
    return [f"### Curriculum `{curriculum}`", *([escaped(description)] if description else []), f"Objective: {escaped(objective)}"]


def _plan_markdown(info: RunInfo) -> str:
    rows = [[str(i), stage.title, f"{stage.expected_ratio:.0%}"] for i, stage in enumerate(info.stages)]
    return markdown_table(["stage", "masking", "masked"], rows)


def _stages_markdown(summary: RunSummary) -> str:
    rows = [[str(i), s.title, _iteration(s.began_at), _iteration(s.ended_at), s.reason] for i, s in enumerate(summary.stages)]
    return markdown_table(["stage", "masking", "from", "to", "ended because"], rows)


def _pools_markdown(summary: RunSummary) -> str:
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
