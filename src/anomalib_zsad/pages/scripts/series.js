// The page of one series: what is chosen, and everything that follows from it.

import { drawBar } from "./bar.js";
import { decodeRecord, Store } from "./decode.js";
import { byId, listFacts } from "./dom.js";
import { page } from "./page_data.js";
import { drawMarks, paint, paintOverlay } from "./paint.js";
import { windowTable } from "./pure/colours.js";
import { formatScore, inWords, readable } from "./pure/words.js";
import { Strip } from "./strip.js";
import { WindowControl } from "./window.js";

const blocks = new Map(
  [...document.querySelectorAll("script.slice")].map((block) => [Number(block.dataset.slice), block]),
);
const store = new Store((slice) => decodeRecord(JSON.parse(blocks.get(slice).textContent), false));
const chosen = { place: 0, overlay: "map", last: "map", opacity: 0.65, outline: true, ring: null, table: null };
const stage = byId("stage");
const frame = byId("frame");

const strip = new Strip(byId("strip"), page.rows, page.thresholds.slice, page.uncertainty, (place) => go(place));
new WindowControl(
  page.window,
  (width, level) => {
    chosen.table = windowTable(page.values, width, level);
    byId("corner-window").textContent = `W ${readable(width)} L ${readable(level)} ${page.units}`;
    draw();
  },
  stage,
);

// Go to a slice by its place in the list; `ring` marks a pixel of it.
function go(place, ring = null) {
  chosen.place = Math.min(page.rows.length - 1, Math.max(0, place));
  chosen.ring = ring;
  const row = page.rows[chosen.place];
  if (!row) return;
  byId("slice").value = chosen.place;
  byId("slice-number").value = row.slice;
  byId("slice").setAttribute("aria-valuetext", `slice ${row.slice}`);
  byId("corner-slice").textContent = `Slice ${row.slice} (${chosen.place + 1} of ${page.rows.length})`;
  stage.setAttribute("aria-label", `Slice ${row.slice}, ${inWords(row.decision)}, score ${formatScore(row.score)}`);
  for (const button of document.querySelectorAll("[data-region]")) {
    const here = page.regions[button.dataset.region].slice === row.slice;
    button.closest("tr").classList.toggle("here", here);
  }
  strip.select(chosen.place);
  showFacts(row);
  draw();
}

async function draw() {
  const row = page.rows[chosen.place];
  if (!row) return;
  const slice = await store.get(row.slice);
  if (page.rows[chosen.place] !== row) return; // another one was chosen meanwhile
  paint(byId("picture"), { grey: slice.codes, width: slice.width, height: slice.height }, chosen.table);
  const overlay = byId("overlay");
  paintOverlay(overlay, slice[chosen.overlay], page.scales[chosen.overlay]);
  overlay.style.opacity = chosen.opacity;
  const ring = chosen.ring && [...chosen.ring, ...page.size];
  drawMarks(byId("marks"), { mask: slice.mask, outline: chosen.outline, ring });
  stage.dataset.shown = `${row.slice}/${chosen.overlay}/${chosen.opacity}`;
  for (const step of [1, -1, 2]) {
    const near = page.rows[chosen.place + step];
    if (near) store.get(near.slice);
  }
}

function showFacts(row) {
  const facts = [
    ...(page.decided === "nothing"
      ? []
      : [["Decision", inWords(row.decision) + (row.flagged && row.decision !== "abnormal" ? " (flagged)" : "")]]),
    [
      "Rank by score",
      row.rank === null
        ? "blank, not scored"
        : `${row.rank} of ${page.rows.filter((other) => other.rank !== null).length}`,
    ],
    ["Score", formatScore(row.score) + (row.std === null ? "" : ` ± ${formatScore(row.std)}`)],
    ...(row.p === null ? [] : [["p-value", formatScore(row.p)]]),
    ["Peak of the map", formatScore(row.peak)],
    ...(row.area === null
      ? []
      : [[`Area at map ≥ ${formatScore(page.thresholds.mask)}`, `${row.area.toFixed(0)} mm²`]]),
    ...(row.position
      ? [["Middle (RAS, mm)", row.position.map((value) => (Math.round(10 * value) / 10 + 0).toFixed(1)).join(", ")]]
      : []),
    ...(row.instance ? [["SOP instance UID", row.instance + (row.frame ? `, frame ${row.frame}` : "")]] : []),
  ];
  listFacts(byId("slice-facts"), facts);
}

// True proportions: the frame takes the largest size of its shape that fits into the stage.
function fit() {
  const [rows, columns] = page.size;
  const [high, wide] = page.spacing ?? [1, 1];
  const shape = (columns * wide) / (rows * high);
  const width = Math.min(stage.clientWidth, stage.clientHeight * shape);
  frame.style.width = `${width}px`;
  frame.style.height = `${width / shape}px`;
  for (const [edge, letter] of Object.entries(page.edges ?? {})) byId(`edge-${edge}`).textContent = letter;
  byId("ruler").hidden = !page.spacing || (50 / (columns * wide)) * width > stage.clientWidth / 2;
  byId("ruler-line").style.width = `${(50 / (columns * wide)) * width}px`;
  draw();
}

// The map, its deviation or nothing over the picture.
function setOverlay(name) {
  if (name !== "none") chosen.last = name;
  chosen.overlay = name;
  document.querySelector(`input[name=overlay][value=${name}]`).checked = true;
  drawBar(byId("bar"), page.scales[name] ?? null, name === "map" ? page.thresholds.mask : null);
  draw();
}

const STEPS = {
  ArrowLeft: -1,
  ArrowUp: -1,
  ArrowRight: 1,
  ArrowDown: 1,
  PageUp: -10,
  PageDown: 10,
  Home: -Infinity,
  End: Infinity,
};

// Keys work on the viewer, and wherever nothing else takes them while the picture is in sight.
function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const target = event.target;
  const viewer = target === stage || target.id === "strip" || target.id === "slice";
  const elsewhere = target === document.body || target.matches?.("[data-region], [data-row]");
  if (!viewer && !(elsewhere && inSight())) return;
  if (event.key === " " && target.tagName !== "BUTTON") setOverlay(chosen.overlay === "none" ? chosen.last : "none");
  else if (event.key in STEPS) go(chosen.place + STEPS[event.key]);
  else return;
  event.preventDefault();
}

function inSight() {
  const box = stage.getBoundingClientRect();
  return box.bottom > box.height / 2 && box.top < window.innerHeight - box.height / 2;
}

// Wheels give many small steps or few large ones; either way a notch is a slice.
let turned = 0;
function onWheel(event) {
  if (event.ctrlKey) return;
  event.preventDefault();
  turned += event.deltaMode === 0 ? event.deltaY : event.deltaY * 30;
  const steps = Math.trunc(turned / 30);
  if (!steps) return;
  turned = Math.abs(steps) > 1 ? 0 : turned - steps * 30;
  go(chosen.place + Math.sign(steps));
}

// A finger across the picture: slices. Up and down scrolls the page.
function listenToSwipes() {
  let from = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse") from = { x: event.clientX, place: chosen.place };
  });
  stage.addEventListener("pointermove", (event) => {
    if (!from || event.pointerType === "mouse") return;
    const step = Math.max(8, stage.clientWidth / page.rows.length);
    go(from.place + Math.round((event.clientX - from.x) / step));
  });
  for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, () => (from = null));
}

function listen() {
  byId("slice").addEventListener("input", (event) => go(Number(event.target.value)));
  byId("previous").addEventListener("click", () => go(chosen.place - 1));
  byId("next").addEventListener("click", () => go(chosen.place + 1));
  byId("slice-number").addEventListener("change", (event) => {
    const place = page.rows.findIndex((row) => row.slice === event.target.valueAsNumber);
    go(place < 0 ? chosen.place : place);
  });
  for (const choice of document.querySelectorAll("input[name=overlay]"))
    choice.addEventListener("change", () => setOverlay(choice.value));
  byId("opacity").addEventListener("input", (event) => {
    chosen.opacity = Number(event.target.value) / 100;
    byId("opacity-value").textContent = `${event.target.value} %`;
    draw();
  });
  byId("outline").addEventListener("change", (event) => {
    chosen.outline = event.target.checked;
    draw();
  });
  for (const button of document.querySelectorAll("[data-region]"))
    button.addEventListener("click", () => goToRegion(page.regions[button.dataset.region]));
  for (const button of document.querySelectorAll("[data-row]"))
    button.addEventListener("click", () => {
      go(Number(button.dataset.row));
      stage.scrollIntoView({ block: "nearest" });
    });
  for (const button of document.querySelectorAll("[data-unfold]")) fold(button, byId(button.dataset.unfold));
  document.addEventListener("keydown", onKey);
  stage.addEventListener("wheel", onWheel, { passive: false });
  listenToSwipes();
  new ResizeObserver(fit).observe(stage);
}

// A long table shows its first rows until all are asked for.
function fold(button, table) {
  if (table.tBodies[0].rows.length <= 8) return;
  button.hidden = false;
  table.classList.add("folded");
  button.addEventListener("click", () => {
    table.classList.remove("folded");
    button.hidden = true;
  });
}

function goToRegion(region) {
  go(
    page.rows.findIndex((row) => row.slice === region.slice),
    region.pixel,
  );
  if (!inSight()) stage.scrollIntoView({ block: "start" });
}

// Begin where there is most to see: the slice with the highest score.
function start() {
  listen();
  setOverlay("map");
  const scores = page.rows.map((row) => row.score);
  fit();
  go(Math.max(0, scores.indexOf(Math.max(...scores))));
}

start();
