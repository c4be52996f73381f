// The shown slice: in the main pane with its overlay, and beside it without.

import { decodeRecord, Store } from "./decode.js";
import { byId, oncePerFrame } from "./dom.js";
import { page } from "./page_data.js";
import { paint, paintOverlay, strokeOutline } from "./paint.js";
import { Pane } from "./pane.js";
import { codeFrom } from "./pure/threshold_counts.js";
import { drawCrosshair, drawDistance, drawPlaneLines, drawRegions } from "./series_marks.js";
import { chosen, watch } from "./series_state.js";
import { begun, first } from "./series_turn.js";

const blocks = new Map(
  [...document.querySelectorAll("script.slice")].map((block) => [Number(block.dataset.slice), block]),
);
const store = new Store((slice) => decodeRecord(storedSlice(slice), false));

// What the page holds of a slice, by its number.
export function storedSlice(slice) {
  return JSON.parse(blocks.get(slice).textContent);
}

const geometry = { size: page.size, spacing: page.spacing };
export const mainPane = new Pane(byId("stage"), geometry, drawMainMarks);
export const plainPane = new Pane(byId("plain"), geometry, drawPlainMarks);
mainPane.linkTo(plainPane);

// The slice as it is decoded, once it is drawn.
export const drawn = { slice: null, row: null };

function drawMainMarks(context, pane) {
  if (!drawn.slice || chosen.hidden) return;
  if (chosen.outline) strokeThreshold(context, pane.box);
  if (chosen.layout === "three") drawPlaneLines(context, pane);
  drawRegions(context, pane);
  drawDistance(context, pane);
}

function drawPlainMarks(context, pane) {
  if (drawn.slice && !chosen.hidden) drawCrosshair(context, pane);
}

// At the threshold in use by the exact mask, at others by the map as it is stored.
function strokeThreshold(context, box) {
  const { mask, map } = drawn.slice;
  if (chosen.threshold === page.thresholds.mask) {
    if (mask) strokeOutline(context, mask, box);
  } else if (map) strokeOutline(context, map, box, codeFrom(chosen.threshold, map.low, map.high));
}

const drawSoon = oncePerFrame(() => draw().finally(begun));

async function draw() {
  const row = page.rows[chosen.place];
  if (!row) return;
  const slice = await first(() => store.get(row.slice));
  if (page.rows[chosen.place] !== row) return; // another one was chosen meanwhile
  Object.assign(drawn, { slice, row });
  const picture = { grey: slice.codes, width: slice.width, height: slice.height };
  paint(mainPane.picture, picture, chosen.table);
  if (plainPane.shown) paint(plainPane.picture, picture, chosen.table);
  paintOverlay(mainPane.overlay, slice[chosen.overlay], page.scales[chosen.overlay]);
  mainPane.overlay.style.opacity = chosen.hidden ? 0 : chosen.opacity;
  for (const pane of mainPane.partners) pane.redrawMarks();
  byId("stage").dataset.shown = `${row.slice}/${chosen.overlay}/${chosen.hidden ? "hidden" : chosen.opacity}`;
  for (const step of [1, -1, 2]) {
    const near = page.rows[chosen.place + step];
    if (near) store.get(near.slice);
  }
}

watch(drawSoon);
