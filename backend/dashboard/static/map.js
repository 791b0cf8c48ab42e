// The map's slider: steps the map, the list and the cursor of the charts through the next 48 hours.
import { britishWords, durationWords, now, utcWords } from "./clock.js";

const INDEX = ["very low", "low", "moderate", "high", "very high"];
const HALF_HOUR_MS = 1800000;
const STEP_MS = 350;
let playing = 0;
let series = null;
let pieces = null;

export function attachMap() {
  const slider = document.getElementById("hour");
  if (!slider) return;
  document.querySelector("[data-map-slider]").hidden = false;
  read();
  slider.addEventListener("input", () => { stop(); show(); });
  slider.addEventListener("keydown", (event) => {
    const step = { PageUp: 2, PageDown: -2 }[event.key];
    if (!step) return;
    event.preventDefault();
    stop();
    slider.value = Number(slider.value) + step;
    show();
  });
  document.getElementById("present").addEventListener("click", () => { stop(); slider.value = 0; show(); });
  document.getElementById("play").addEventListener("click", () => (playing ? stop() : play()));
  const charts = document.getElementById("charts");
  charts?.addEventListener("pointerdown", (event) => toPointer(event, charts, slider));
  document.addEventListener("pylon:refreshed", () => { read(); show(); });
  show();
}

function read() {
  series = JSON.parse(document.getElementById("map-series").textContent);
  pieces = null;
}

function found() {
  if (pieces) return pieces;
  const list = document.getElementById("ranked");
  pieces = { list, areas: new Map(), lines: new Map() };
  for (const area of document.querySelectorAll("#map .area")) pieces.areas.set(Number(area.dataset.region), area);
  for (const line of list.children) pieces.lines.set(Number(line.dataset.region), line);
  return pieces;
}

function show() {
  const slider = document.getElementById("hour");
  const place = Number(slider.value);
  const moment = new Date(Date.parse(series.start) + place * HALF_HOUR_MS);
  const when = place === 0 ? "this half-hour" : `in ${durationWords(moment - now())}`;
  const night = series.nights.some(([from, to]) => place >= from && place < to) ? ", night" : "";
  document.getElementById("hour-words").textContent = `${utcWords(moment)} (${britishWords(moment)})`;
  document.getElementById("hour-when").textContent = when + night;
  slider.setAttribute("aria-valuetext", `${utcWords(moment)}, ${when}`);
  const ranked = series.ids.map((id, row) => ({ id, row, figure: series.figures[row][place] }));
  for (const { id, row, figure } of ranked) paint(id, series.names[row], figure, series.words[row][place]);
  ranked.sort((one, other) => (one.figure ?? Infinity) - (other.figure ?? Infinity) || one.id - other.id);
  const { list, lines } = found();
  ranked.forEach(({ id }, rank) => {
    const line = lines.get(id);
    if (line && list.children[rank] !== line) list.insertBefore(line, list.children[rank]);
  });
  moveCursor(place);
}

function paint(id, name, figure, digit) {
  const word = INDEX[digit] ?? "unknown";
  const css = `index-${word.replace(" ", "-")}`;
  const { areas, lines } = found();
  const area = areas.get(id);
  if (area) {
    area.setAttribute("class", `area ${css}`);
    area.querySelector(".area-figure").textContent = figure ?? "?";
    area.setAttribute("aria-label", figure === null ? `${name}: unknown` : `${name}: ${figure} gCO₂/kWh, ${word}`);
  }
  const line = lines.get(id);
  if (line) {
    line.querySelector(".swatch").className = `swatch ${css}`;
    line.querySelector(".word").textContent = word;
    line.querySelector(".figure").textContent = figure ?? "?";
  }
}

function moveCursor(place) {
  const charts = document.getElementById("charts");
  if (!charts) return;
  charts.classList.toggle("has-cursor", place > 0);
  const x = `${(100 * (Number(charts.dataset.slotsBefore) + place + 0.5)) / Number(charts.dataset.halfHours)}%`;
  for (const cursor of charts.querySelectorAll(".chart > .cursor")) {
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
  }
}

function toPointer(event, charts, slider) {
  const chart = event.target.closest(".chart");
  if (!chart) return;
  const box = chart.getBoundingClientRect();
  const slot = Math.floor(((event.clientX - box.left) / box.width) * Number(charts.dataset.halfHours));
  const place = slot - Number(charts.dataset.slotsBefore);
  if (place < 0 || place > Number(slider.max)) return;
  stop();
  slider.value = place;
  show();
}

function play() {
  const button = document.getElementById("play");
  const slider = document.getElementById("hour");
  if (Number(slider.value) >= Number(slider.max)) slider.value = 0;
  button.textContent = "Pause";
  // Who wants less motion gets whole hours, slowly.
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  playing = setInterval(() => {
    const next = Number(slider.value) + (calm ? 2 : 1);
    slider.value = next;
    show();
    if (next >= Number(slider.max)) stop();
  }, calm ? 4 * STEP_MS : STEP_MS);
}

function stop() {
  clearInterval(playing);
  playing = 0;
  document.getElementById("play").textContent = "Play";
}
