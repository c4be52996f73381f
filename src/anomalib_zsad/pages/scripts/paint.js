// Canvases: pictures through tables, outlines, rings.

import { colourTable } from "./pure/colours.js";
import { outlineOf } from "./pure/outline.js";

export function resize(canvas, width, height) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}

// Codes through a table of 256 packed pixels.
export function paint(canvas, { grey, width, height }, table) {
  resize(canvas, width, height);
  const context = canvas.getContext("2d");
  const out = context.createImageData(width, height);
  const pixels = new Uint32Array(out.data.buffer);
  for (let i = 0; i < grey.length; i++) pixels[i] = table[grey[i]];
  context.putImageData(out, 0, 0);
}

export function paintOverlay(canvas, stored, scale) {
  if (stored && scale) paint(canvas, stored, colourTable(stored, scale));
  else canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}

// Outline and ring around a place, on a canvas with the screen's own pixels. `ring` is [row, column, rows, columns].
export function drawMarks(canvas, { mask, outline, ring }) {
  const box = canvas.getBoundingClientRect();
  const ratio = window.devicePixelRatio || 1;
  resize(canvas, Math.max(1, Math.round(box.width * ratio)), Math.max(1, Math.round(box.height * ratio)));
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (outline && mask) strokeOutline(context, mask, ratio);
  if (!ring) return;
  const [row, column, rows, columns] = ring;
  const path = new Path2D();
  path.arc(((column + 0.5) / columns) * canvas.width, ((row + 0.5) / rows) * canvas.height, 14 * ratio, 0, 2 * Math.PI);
  strokeTwice(context, path, ratio);
}

function strokeOutline(context, mask, ratio) {
  mask.outline ??= strokesOf(outlineOf(mask));
  const path = new Path2D();
  const { width, height } = context.canvas;
  path.addPath(mask.outline, new DOMMatrix([width / mask.width, 0, 0, height / mask.height, 0, 0]));
  strokeTwice(context, path, ratio);
}

// White within dark: seen on every ground.
function strokeTwice(context, path, ratio) {
  context.lineJoin = context.lineCap = "round";
  for (const [style, width] of [
    ["rgb(0 0 0 / 70%)", 3.5],
    ["#ffffff", 1.5],
  ]) {
    context.strokeStyle = style;
    context.lineWidth = width * ratio;
    context.stroke(path);
  }
}

function strokesOf(pieces) {
  const path = new Path2D();
  for (const [x0, y0, x1, y1] of pieces) {
    path.moveTo(x0, y0);
    path.lineTo(x1, y1);
  }
  return path;
}
