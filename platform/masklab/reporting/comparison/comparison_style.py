"""The style of a comparison's page, light and dark; the pictures take their colours from it."""

from __future__ import annotations

from masklab.reporting.plots import COLOURS

LIGHT = {"paper": "#fdfdfb", "ink": "#1b1c1f", "faint": "#6f727b", "rule": "#dcdcd8", "card": "#f6f6f2"}
DARK = {"paper": "#15161a", "ink": "#ececea", "faint": "#9a9da6", "rule": "#34363d", "card": "#1d1f24"}
DARK_COLOURS = ("#5aaee8", "#f2b63f", "#34c79c", "#e3a3ca", "#f08a4b", "#93d3f7", "#cbb838")
"""The colours of the figures, lifted for dark paper."""


def _variables(named: dict[str, str], colours: tuple[str, ...]) -> str:
    pairs = [*named.items(), *((f"c{i}", colour) for i, colour in enumerate(colours))]
    return ":root {" + "".join(f" --{name}: {colour};" for name, colour in pairs) + " }\n"


LAYOUT = """
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.55 system-ui, -apple-system, "Segoe UI", "Helvetica Neue",
  "DejaVu Sans", Arial, sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 76rem; margin: 0 auto; padding: 2.2rem clamp(.9rem, 4vw, 2.6rem) 4rem; }
main > p, main > ul { max-width: 54rem; }
h1 { margin: 0 0 1.2rem; font-size: 1.75rem; line-height: 1.2; letter-spacing: -.015em; overflow-wrap: anywhere; }
h2 { margin: 2.9rem 0 .7rem; padding-top: 1.1rem; border-top: 1px solid var(--rule); font-size: 1.25rem; letter-spacing: -.01em; }
h1 + h2 { margin-top: 0; padding-top: 0; border: 0; }
h3 { margin: 1.7rem 0 .5rem; font-size: 1rem; }
p { margin: .5rem 0; }
ul { margin: .5rem 0; padding-left: 1.15rem; }
li { margin: .18rem 0; overflow-wrap: anywhere; }
.note, figcaption { color: var(--faint); font-size: .87rem; line-height: 1.45; }
.answer { margin: 1rem 0; padding: .95rem 1.2rem; background: var(--card); border-left: 4px solid var(--kind); border-radius: 0 6px 6px 0; }
.answer { --kind: var(--faint); } .better { --kind: var(--c0); } .worse { --kind: var(--c4); }
.answer header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .2rem .8rem; }
.answer h3 { margin: 0; font-size: 1.1rem; overflow-wrap: anywhere; }
.badge { padding: .05rem .6rem; border: 1px solid var(--kind); border-radius: 1rem; color: var(--kind);
  font-size: .84rem; font-weight: 600; }
.sentence, .conclusion { max-width: 62rem; }
.conclusion { font-weight: 600; }
summary { cursor: pointer; font-size: .9rem; color: var(--faint); width: fit-content; }
details { margin: .5rem 0; }
.answer ul { font-size: .92rem; }
.table { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .86rem; }
th, td { padding: .26rem .62rem .26rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th { color: var(--faint); font-weight: 500; vertical-align: bottom; }
.words { text-align: left; }
.strong td:first-child { font-weight: 600; }
.picture { margin: 1.2rem 0; overflow-x: auto; }
.picture svg { display: block; width: 100%; min-width: 42rem; height: auto; }
.picture svg text { font-family: inherit !important; }
pre { padding: .8rem 1rem; background: var(--card); border-radius: 6px; overflow-x: auto; font-size: .86rem; }
code { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
:focus-visible { outline: 2px solid var(--c0); outline-offset: 2px; }
@media print { main { max-width: none; } details { display: block; } }
"""
STYLE = (
    ":root { color-scheme: light dark; }\n"
    + _variables(LIGHT, COLOURS)
    + "@media (prefers-color-scheme: dark) {\n"
    + _variables(DARK, DARK_COLOURS)
    + "}\n"
    + LAYOUT
)
