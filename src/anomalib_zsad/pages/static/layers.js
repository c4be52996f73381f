"use strict";
// Pictures, maps and masks: decoded when they are needed, kept while they are near, drawn through lookup tables.
// A picture's grey levels are codes: what they mean is in a table of the page's data, so that the window can change.

const KEPT = 48; // decoded slices
const SMALLEST_OVERLAY = 512; // coarse maps are drawn on at least this many pixels, so that their colours run smoothly

function byId(name) {
  return document.getElementById(name);
}

function make(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// What is above a threshold need not be abnormal, what is below it not normal.
function inWords(decision) {
  return { abnormal: "above threshold", normal: "below threshold", undecided: "not decided" }[decision] ?? decision;
}

// Pairs of name and value as a list of terms.
function listFacts(list, facts) {
  list.replaceChildren(...facts.map(([name, value]) => {
    const line = make("div");
    line.append(make("dt", "", name), make("dd", "", value));
    return line;
  }));
}

async function decode(source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  return image;
}

// The grey levels (or red, green, blue, alpha) of an image on a grid of a given size, smoothly enlarged.
function pixelsOf(image, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

function greyOf(image, width, height) {
  const { data } = pixelsOf(image, width, height);
  const grey = new Uint8Array(width * height);
  for (let i = 0; i < grey.length; i++) grey[i] = data[4 * i];
  return { grey, width, height };
}

// Decoded records, the most recently used ones.
class Store {
  constructor(read) {
    this.read = read; // from a key to a promise
    this.kept = new Map();
  }

  get(key) {
    const found = this.kept.get(key) ?? this.read(key);
    this.kept.delete(key);
    this.kept.set(key, found);
    if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
    return found;
  }
}

function readMap(stored, image, width, height) {
  if (!image) return null;
  const factor = Math.max(1, Math.ceil(SMALLEST_OVERLAY / Math.max(width, height)));
  return { ...greyOf(image, width * factor, height * factor), low: stored.low, high: stored.high };
}

// A record of the page (picture, map, deviation, mask) with everything decoded; colour pictures stay images.
async function decodeRecord(record, colour) {
  const load = (source) => (source ? decode(source) : null);
  const images = await Promise.all([
    load(record.picture), load(record.map?.source), load(record.deviation?.source), load(record.mask),
  ]);
  const [picture, map, deviation, mask] = images;
  const [width, height] = [picture.naturalWidth, picture.naturalHeight];
  return {
    width, height,
    image: colour ? picture : null,
    codes: colour ? null : greyOf(picture, width, height).grey,
    map: readMap(record.map, map, width, height),
    deviation: readMap(record.deviation, deviation, width, height),
    mask: mask && greyOf(mask, mask.naturalWidth, mask.naturalHeight),
  };
}

function resize(canvas, width, height) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}

// Codes through a table of 256 packed pixels.
function paint(canvas, { grey, width, height }, table) {
  resize(canvas, width, height);
  const context = canvas.getContext("2d");
  const out = context.createImageData(width, height);
  const pixels = new Uint32Array(out.data.buffer);
  for (let i = 0; i < grey.length; i++) pixels[i] = table[grey[i]];
  context.putImageData(out, 0, 0);
}

const pack = (r, g, b, a) => ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;

// Grey table: value of each code through a window.
function windowTable(values, width, level) {
  const lower = level - width / 2;
  return Uint32Array.from(values, (value) => {
    const grey = Math.round(255 * Math.min(1, Math.max(0, (value - lower) / width)));
    return pack(grey, grey, grey, 255);
  });
}

// Colour table of a stored map: clear at the scale's low end, nearly opaque from about three quarters of it on.
function colourTable(stored, scale) {
  const table = new Uint32Array(256);
  for (let code = 0; code < 256; code++) {
    const value = stored.low + ((stored.high - stored.low) * code) / 255;
    const place = Math.min(1, Math.max(0, (value - scale.low) / (scale.high - scale.low)));
    const colour = parseInt(scale.colours[Math.round(255 * place)].slice(1), 16);
    const alpha = Math.round(255 * Math.min(1, 1.6 * place ** 1.5));
    table[code] = pack(colour >> 16, (colour >> 8) & 255, colour & 255, alpha);
  }
  return table;
}

function paintOverlay(canvas, stored, scale) {
  if (stored && scale) paint(canvas, stored, colourTable(stored, scale));
  else canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}

// A path along the edges between pixels inside and outside a mask, in the mask's pixels.
function outlineOf({ grey, width, height }) {
  const path = new Path2D();
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && grey[y * width + x] > 127;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!inside(x, y)) continue;
      for (const [dx, dy, x0, y0, x1, y1] of [[-1, 0, 0, 0, 0, 1], [1, 0, 1, 0, 1, 1], [0, -1, 0, 0, 1, 0], [0, 1, 0, 1, 1, 1]]) {
        if (inside(x + dx, y + dy)) continue;
        path.moveTo(x + x0, y + y0);
        path.lineTo(x + x1, y + y1);
      }
    }
  }
  return path;
}

// Outline and ring around a place, on a canvas with the screen's own pixels. `ring` is [row, column, rows, columns].
function drawMarks(canvas, { mask, outline, ring }) {
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
  mask.outline ??= outlineOf(mask);
  const path = new Path2D();
  const { width, height } = context.canvas;
  path.addPath(mask.outline, new DOMMatrix([width / mask.width, 0, 0, height / mask.height, 0, 0]));
  strokeTwice(context, path, ratio);
}

// White within dark: seen on every ground.
function strokeTwice(context, path, ratio) {
  context.lineJoin = context.lineCap = "round";
  for (const [style, width] of [["rgb(0 0 0 / 70%)", 3.5], ["#ffffff", 1.5]]) {
    context.strokeStyle = style;
    context.lineWidth = width * ratio;
    context.stroke(path);
  }
}

function formatScore(value) {
  if (value === null || value === undefined) return "–";
  return value === 0 || Math.abs(value) >= 0.01 ? value.toFixed(3) : value.toPrecision(2);
}

// The scale's colours with numbers below: its ends, and the threshold where it lies between.
function drawBar(bar, scale, threshold) {
  bar.hidden = !scale;
  if (!scale) return;
  const canvas = bar.querySelector("canvas");
  const context = canvas.getContext("2d");
  scale.colours.forEach((colour, place) => {
    context.fillStyle = colour;
    context.fillRect(place, 0, 1, 1);
  });
  const share = (threshold - scale.low) / (scale.high - scale.low);
  const between = threshold !== null && share >= 0 && share <= 1;
  const ticks = [[0, scale.low, ""], ...(between ? [[share, threshold, "threshold"]] : []), [1, scale.high, ""]];
  const list = bar.querySelector("div");
  list.replaceChildren(...ticks.map(([place, value, name]) => tick(place, value, name)));
  bar.setAttribute("aria-label", `Colours from ${formatScore(scale.low)} to ${formatScore(scale.high)}`);
}

function tick(place, value, name) {
  const mark = document.createElement("span");
  mark.className = name || "end";
  mark.textContent = name ? `▲ ${formatScore(value)}` : formatScore(value);
  mark.title = name;
  mark.style.left = `${100 * place}%`;
  mark.style.transform = `translateX(${-100 * place}%)`;
  return mark;
}

// The map, its deviation or nothing over the picture; both pages keep what is shown in `chosen`.
function setOverlay(name) {
  if (name !== "none") chosen.last = name;
  chosen.overlay = name;
  document.querySelector(`input[name=overlay][value=${name}]`).checked = true;
  drawBar(byId("bar"), page.scales[name] ?? null, name === "map" ? page.thresholds.mask : null);
  draw();
}
