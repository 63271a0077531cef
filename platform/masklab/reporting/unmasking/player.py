"""The style and the script of the page of text being unmasked. The script writes text through `textContent` alone."""

from __future__ import annotations

from masklab.reporting.unmasking.colours import DARK, LEVELS, LIGHT, Theme, hexadecimal


def style(cell_columns: int) -> str:
    """The CSS of the page; a character is `cell_columns` columns wide."""
    dark = "@media (prefers-color-scheme: dark) {\n" + _colours(DARK) + "}\n"
    return f":root {{ color-scheme: light dark; --cell: {cell_columns}ch; }}\n{_colours(LIGHT)}{dark}{LAYOUT}"


def _colours(theme: Theme) -> str:
    named = {"paper": theme.paper, "ink": theme.ink, "faint": theme.faint}
    plain = "".join(f" --{name}: {hexadecimal(colour)};" for name, colour in named.items())
    tiles = zip(range(LEVELS), theme.tiles, theme.inks, strict=True)
    levels = "".join(f".l{i} {{ background: {hexadecimal(tile)}; color: {hexadecimal(ink)}; }}\n" for i, tile, ink in tiles)
    return f":root {{{plain} }}\n{levels}"


LAYOUT = """
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.6rem clamp(.8rem, 3vw, 2.2rem) 2rem; max-width: 100rem; background: var(--paper); color: var(--ink);
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; font-variant-numeric: tabular-nums; }
h1 { margin: 0 0 .7rem; font-size: 1.3rem; font-weight: 600; line-height: 1.25; letter-spacing: -.01em; overflow-wrap: anywhere; }
.facts { display: flex; flex-wrap: wrap; gap: .1rem 2rem; margin: 0 0 1rem; font-size: .86rem; }
.facts div { min-width: 0; overflow-wrap: anywhere; }
.facts dt, .facts dd { display: inline; margin: 0; }
.facts dt { margin-right: .45em; color: var(--faint); }
.bar { position: sticky; top: 0; z-index: 1; padding: .7rem 0 .55rem; background: var(--paper);
  border-top: 1px solid color-mix(in srgb, var(--ink) 16%, transparent); }
[hidden] { display: none !important; }
.row { display: flex; flex-wrap: wrap; align-items: center; gap: .45rem 1.3rem; }
.row + .row { margin-top: .45rem; }
button, select { font: inherit; color: inherit; background: transparent; cursor: pointer; border-radius: 5px; height: 2rem;
  border: 1px solid color-mix(in srgb, var(--ink) 28%, transparent); }
option { background: var(--paper); color: var(--ink); }
button { width: 5.2rem; padding: 0; font-weight: 600; }
button:hover, select:hover { border-color: var(--ink); }
:focus-visible { info: 2px solid var(--ink); info-offset: 2px; }
input { accent-color: var(--ink); margin: 0; }
#step { flex: 1 1 12rem; min-width: 8rem; }
label, fieldset { display: flex; align-items: center; gap: .45em; }
fieldset { border: 0; margin: 0; padding: 0; gap: 1em; min-width: 0; }
legend { float: left; padding: 0; color: var(--faint); }
#caption { font-weight: 600; }
.key { display: flex; flex-wrap: wrap; align-items: center; gap: .3rem 1.1rem; margin-left: auto; font-size: .86rem; color: var(--faint); }
.key .cell { color: var(--ink); }
.scale { display: flex; align-items: center; gap: .5em; }
.scale i { display: inline-block; width: 4px; height: .95em; }
.key span.cell, .text span.cell { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, "Liberation Mono", monospace; }
.texts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 34rem), 1fr)); gap: 1.2rem 2.4rem; margin-top: .6rem; }
figure { margin: 0; min-width: 0; }
figcaption { color: var(--faint); font-size: .86rem; margin-bottom: .2rem; }
.text { margin: 0; max-width: 66ch; white-space: pre-wrap; overflow-wrap: anywhere; direction: ltr;
  font: 14px/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, "Liberation Mono", monospace; }
.word { white-space: nowrap; }
.cell { display: inline-block; width: var(--cell); height: 1.5em; line-height: 1.5em; text-align: center; vertical-align: top;
  white-space: pre; cursor: default; }
.given { font-weight: 700; text-decoration: underline; text-underline-offset: 3px; }
.masked { background: color-mix(in srgb, var(--ink) 11%, transparent); background-clip: content-box; padding: .28em 1px; }
.newline { opacity: .55; user-select: none; }
.fresh { info: 1.5px solid var(--ink); info-offset: -1px; border-radius: 2px; }
.keys { margin: 1.4rem 0 0; font-size: .86rem; color: var(--faint); }
#readout { min-height: 1.45em; font-size: .86rem; }
#readout:empty::before { content: "Point at a character for its step and confidence."; color: var(--faint); }
@media (max-width: 46rem) { .key { margin-left: 0; } .text { font-size: 13px; } }
"""

SCRIPT = r"""
"use strict";
const { length, levels, signs, given, steps, captions, changes } = JSON.parse(document.getElementById("record").textContent);
const MASKED = 0, NEWLINE = 1, LONGEST_WORD = 24, SECONDS = 12;
const last = steps.length - 1, scaleEnd = Math.max(1, steps[last] - 1);
const [play, slider, speed, caption, readout] = ["play", "step", "speed", "caption", "readout"].map((id) => document.getElementById(id));
const places = new Map();
const texts = given.map((positions, row) => {
  const isGiven = new Array(length).fill(false);
  for (const i of positions) isGiven[i] = true;
  const zeros = () => new Int32Array(length);
  const element = document.getElementById(`text-${row}`);
  return { row, element, isGiven, sign: zeros(), percent: zeros(), placed: zeros(), cells: [], looks: [], shown: [] };
});
let at = -1, by = "step", timer = 0, hovered = null;

function apply(index) {
  for (const text of texts) {
    const flat = changes[index][text.row];
    for (let k = 0, i = 0; k < flat.length; k += 4) {
      i += flat[k];
      text.sign[i] = flat[k + 1];
      text.percent[i] = flat[k + 2];
      text.placed[i] = flat[k + 1] === MASKED || text.isGiven[i] ? 0 : steps[index] - flat[k + 3];
    }
  }
}

function seek(index) {
  if (index < at) {
    at = -1;
    for (const text of texts) for (const values of [text.sign, text.percent, text.placed]) values.fill(0);
  }
  while (at < index) apply(++at);
}

function build(text) {
  text.element.textContent = "";
  let word = null;
  for (let i = 0; i < length; i++) {
    if (!word) {
      word = document.createElement("span");
      word.className = "word";
      text.element.append(word);
    }
    const cell = document.createElement("span");
    places.set(cell, { text, i });
    text.cells.push(cell);
    word.append(cell);
    const isNewline = text.sign[i] === NEWLINE;
    if (isNewline) text.element.append("\n");
    if (isNewline || signs[text.sign[i]] === " " || word.childElementCount >= LONGEST_WORD) word = null;
  }
}

function look(text, i) {
  if (text.isGiven[i]) return "cell given";
  if (text.sign[i] === MASKED) return "cell masked";
  const share = by === "step" ? (text.placed[i] - 1) / scaleEnd : text.percent[i] / 100;
  const level = Math.max(0, Math.min(levels - 1, Math.floor(share * levels)));
  const newline = text.sign[i] === NEWLINE ? " newline" : "";
  return `cell l${level}${newline}${text.placed[i] === steps[at] ? " fresh" : ""}`;
}

function draw() {
  for (const text of texts) {
    text.cells.forEach((cell, i) => {
      const name = look(text, i), sign = text.sign[i];
      if (text.looks[i] !== name) cell.className = text.looks[i] = name;
      if (text.shown[i] !== sign) {
        text.shown[i] = sign;
        cell.textContent = sign === MASKED ? "\u00a0" : signs[sign];
      }
    });
    if (!timer) text.element.setAttribute("aria-label", Array.from(text.sign, (sign) => signs[sign]).join(""));
  }
  caption.textContent = captions[at];
  slider.value = at;
  slider.setAttribute("aria-valuetext", captions[at]);
  tell();
}

function tell() {
  if (!hovered) return void (readout.textContent = "");
  const { text, i } = hovered, sign = text.sign[i];
  const where = `position ${i + 1}${texts.length > 1 ? ` of text ${text.row + 1}` : ""}`;
  if (sign === MASKED) return void (readout.textContent = `${where}: masked`);
  const how = text.isGiven[i] ? "given" : `written in step ${text.placed[i]}, confidence ${text.percent[i]} %`;
  readout.textContent = `${where}: “${signs[sign]}”, ${how}`;
}

function show(index) {
  seek(Math.max(0, Math.min(last, index)));
  draw();
}

function pause() {
  clearInterval(timer);
  timer = 0;
  play.textContent = "Play";
  draw();
}

function start() {
  if (at === last) show(0);
  clearInterval(timer);
  timer = setInterval(() => (at < last ? show(at + 1) : pause()), 1000 / Number(speed.value));
  play.textContent = "Pause";
}

const toggle = () => (timer ? pause() : start());

function colourBy(name) {
  by = name;
  for (const scale of document.querySelectorAll("[data-by]")) scale.hidden = scale.dataset.by !== name;
  draw();
}

const keys = {
  " ": toggle,
  ArrowLeft: () => show(at - 1),
  ArrowRight: () => show(at + 1),
  Home: () => show(0),
  End: () => show(last),
  c: () => document.querySelector("[name=by]:not(:checked)").click(),
};
document.addEventListener("keydown", (event) => {
  const act = keys[event.key], onControl = event.target.matches("select, [type=radio]"), onButton = event.target.matches("button");
  const isOwn = (onControl && event.key !== "c") || (onButton && event.key === " ");
  if (!act || isOwn || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
});
play.addEventListener("click", toggle);
slider.addEventListener("input", () => show(Number(slider.value)));
speed.addEventListener("change", () => timer && start());
for (const choice of document.querySelectorAll("[name=by]")) choice.addEventListener("change", () => colourBy(choice.value));
for (const text of texts) {
  text.element.addEventListener("pointerover", (event) => { hovered = places.get(event.target) ?? null; tell(); });
  text.element.addEventListener("pointerleave", () => { hovered = null; tell(); });
}

seek(last);
texts.forEach(build);
const rates = Array.from(speed.options, (option) => option.value);
speed.value = rates.find((rate) => rate * SECONDS >= last) ?? rates.at(-1);
colourBy(document.querySelector("[name=by]:checked").value);
for (const element of document.querySelectorAll(".scripted")) element.hidden = false;
"""
