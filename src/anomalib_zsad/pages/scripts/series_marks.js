// What is drawn over a pane: crosshairs, the places of regions, lines of the other planes, a distance.

import { page } from "./page_data.js";
import { strokeTwice } from "./paint.js";
import { regionColour } from "./pure/region_colours.js";
import { chosen } from "./series_state.js";
import { distanceInWords } from "./series_words.js";

const GAP = 16; // of a crosshair around its middle
const REACH = 34;
const LINE = "#7fdbff";

// The regions whose peaks lie on the shown slice: numbered, the one gone to with a crosshair.
export function drawRegions(context, pane) {
  const { slice } = page.rows[chosen.place];
  for (const region of page.regions) {
    if (region.slice !== slice || !region.pixel || region.peak < chosen.threshold) continue;
    const here = region.number === chosen.region;
    if (here) strokeCross(context, pane.screenOf(region.pixel), regionColour(region.number));
    label(context, pane.screenOf(region.pixel), String(region.number), regionColour(region.number), here);
  }
}

export function drawCrosshair(context, pane) {
  if (chosen.region !== null)
    strokeCross(context, pane.screenOf([chosen.row, chosen.column]), regionColour(chosen.region));
  else strokeCross(context, pane.screenOf([chosen.row, chosen.column]), LINE);
}

function strokeCross(context, { x, y }, colour) {
  const path = new Path2D();
  for (const [dx, dy] of [
    [1, 0],
    [-1, 0],
    [0, 1],
    [0, -1],
  ]) {
    path.moveTo(x + GAP * dx, y + GAP * dy);
    path.lineTo(x + REACH * dx, y + REACH * dy);
  }
  strokeTwice(context, path, colour, 2.5);
}

function label(context, { x, y }, text, colour, strong) {
  context.font = `700 ${strong ? 15 : 12}px system-ui, sans-serif`;
  const [left, top] = [x + (strong ? 20 : 4), y - (strong ? 12 : 4)];
  if (!strong) {
    const dot = new Path2D();
    dot.arc(x, y, 2, 0, 2 * Math.PI);
    strokeTwice(context, dot, colour, 2);
  }
  context.lineWidth = 3.5;
  context.strokeStyle = "rgb(0 0 0 / 80%)";
  context.strokeText(text, left, top);
  context.fillStyle = colour;
  context.fillText(text, left, top);
}

// Where the other planes cut a pane, with a gap around the place where they meet.
export function drawPlaneLines(context, pane, point = [chosen.row, chosen.column]) {
  const { x, y } = pane.screenOf(point);
  const path = new Path2D();
  const { left, top, width, height } = pane.box;
  for (const [x0, y0, x1, y1] of [
    [left, y, x - GAP, y],
    [x + GAP, y, left + width, y],
    [x, top, x, y - GAP],
    [x, y + GAP, x, top + height],
  ]) {
    path.moveTo(x0, y0);
    path.lineTo(x1, y1);
  }
  context.strokeStyle = LINE;
  context.lineWidth = 1;
  context.globalAlpha = 0.75;
  context.stroke(path);
  context.globalAlpha = 1;
}

// The distance on the slice on which it was measured.
export function drawDistance(context, pane) {
  const [first, second] = chosen.distance ?? [];
  if (!first || first.place !== chosen.place) return;
  const end = second ?? { row: chosen.row, column: chosen.column };
  const from = pane.screenOf([first.row, first.column]);
  const to = pane.screenOf([end.row, end.column]);
  const path = new Path2D();
  path.moveTo(from.x, from.y);
  path.lineTo(to.x, to.y);
  for (const { x, y } of [from, to]) {
    path.moveTo(x + 4, y);
    path.arc(x, y, 4, 0, 2 * Math.PI);
  }
  strokeTwice(context, path, "#ffe08a", 2);
  const middle = { x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 };
  label(context, middle, distanceInWords(first, { place: first.place, ...end }), "#ffe08a", true);
}
