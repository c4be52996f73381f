// Canvases: pictures through tables, and outlines.

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

// The outline of a mask on a canvas of its own, with the screen's own pixels; nothing without a mask.
export function drawOutline(canvas, mask) {
  const box = canvas.getBoundingClientRect();
  const ratio = window.devicePixelRatio || 1;
  resize(canvas, Math.max(1, Math.round(box.width * ratio)), Math.max(1, Math.round(box.height * ratio)));
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  if (mask) strokeOutline(context, mask, { left: 0, top: 0, width: box.width, height: box.height });
}

// The outline of what reaches a level of a grey picture that lies in a box.
export function strokeOutline(context, mask, box, from = 128) {
  mask.outlines ??= new Map();
  if (!mask.outlines.has(from)) mask.outlines.set(from, strokesOf(outlineOf(mask, from)));
  if (mask.outlines.size > 8) mask.outlines.delete(mask.outlines.keys().next().value);
  const path = new Path2D();
  const matrix = [box.width / mask.width, 0, 0, box.height / mask.height, box.left, box.top];
  path.addPath(mask.outlines.get(from), new DOMMatrix(matrix));
  strokeTwice(context, path, "#ffffff");
}

// A colour within dark: seen on every ground.
export function strokeTwice(context, path, colour, width = 1.5) {
  context.lineJoin = context.lineCap = "round";
  for (const [style, wide] of [
    ["rgb(0 0 0 / 70%)", width + 2],
    [colour, width],
  ]) {
    context.strokeStyle = style;
    context.lineWidth = wide;
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
