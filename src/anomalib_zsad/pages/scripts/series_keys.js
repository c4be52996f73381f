// Keys on the panes, and wherever nothing else takes them while the picture is in sight.

import { byId } from "./dom.js";
import { page } from "./page_data.js";
import { clamp } from "./pure/numbers.js";
import { mainPane } from "./series_pictures.js";
import { planes } from "./series_planes.js";
import { zoomBy } from "./series_pointer.js";
import { choose, chosen } from "./series_state.js";
import { go, inSight, stepRegion } from "./series_walk.js";

const SLICE_STEPS = {
  ArrowLeft: -1,
  ArrowUp: -1,
  ArrowRight: 1,
  ArrowDown: 1,
  PageUp: -10,
  PageDown: 10,
  Home: -Infinity,
  End: Infinity,
};
const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function click(name) {
  byId(name).click();
}

const ACTIONS = {
  n: () => stepRegion(1),
  p: () => stepRegion(-1),
  "+": () => zoomBy(1),
  "=": () => zoomBy(1),
  "-": () => zoomBy(-1),
  0: () => mainPane.whole(),
  o: () => click("outline"),
  c: () => click("play"),
  f: () => click("full-screen"),
  d: markDistance,
  Escape: () => choose({ distance: null }),
  1: () => click("layout-one"),
  2: () => click("layout-pair"),
  3: () => click("layout-three"),
};

// The first press is the start of a distance, at the crosshair; the second one its end; the third begins anew.
function markDistance() {
  const here = { place: chosen.place, row: chosen.row, column: chosen.column };
  const [first, second] = chosen.distance ?? [];
  choose({ distance: first && !second && first.place === here.place ? [first, here] : [here] });
}

// The crosshair by a pixel, or by ten.
function moveCrosshair([down, right], large) {
  const by = large ? 10 : 1;
  const row = clamp(chosen.row + by * down, 0, page.size[0] - 1);
  const column = clamp(chosen.column + by * right, 0, page.size[1] - 1);
  choose({ row, column, region: null });
  mainPane.bringIn([row, column]);
}

// Whether keys are meant for the pictures.
function meant(target) {
  if (target.closest?.("#views") || target.id === "strip" || target.id === "slice") return true;
  const elsewhere = target === document.body || target.matches?.("[data-region], [data-row], .toolbar button");
  return elsewhere && inSight();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || !meant(event.target)) return;
  const { key, target } = event;
  const view = planes.find(({ pane }) => pane.element === target);
  if (key in ARROWS && (event.shiftKey || event.altKey)) moveCrosshair(ARROWS[key], event.altKey);
  else if (event.altKey) return;
  else if (key in SLICE_STEPS && view) view.step(SLICE_STEPS[key]);
  else if (key in SLICE_STEPS) go(chosen.place + SLICE_STEPS[key]);
  else if (key === " " && target.tagName !== "BUTTON")
    choose({ overlay: chosen.overlay === "none" ? chosen.last : "none" });
  else if (key === "h") choose({ hidden: true });
  else if (key in ACTIONS) ACTIONS[key]();
  else return;
  event.preventDefault();
}

export function listenToKeys() {
  document.addEventListener("keydown", onKey);
  document.addEventListener("keyup", (event) => event.key === "h" && choose({ hidden: false }));
  window.addEventListener("blur", () => choose({ hidden: false }));
}
