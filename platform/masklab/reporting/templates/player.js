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
