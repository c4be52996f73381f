// What a gallery knows of its images: which are shown, how many lie where, and what is exported. Nothing here draws.

import { ends } from "./numbers.js";

export const UNREADABLE = "unreadable";
const FORMULA = /^[=+\-@\t\r]/; // what a spreadsheet would compute

// Images as objects, from the columns of the page's data.
export function imagesOf(columns) {
  return columns.name.map((name, number) => ({
    number,
    name,
    folder: name.includes("/") ? name.slice(0, name.lastIndexOf("/")) : "",
    size: columns.size[number],
    score: columns.score[number],
    std: columns.std[number],
    p: columns.p[number],
    decision: columns.decision[number],
    peak: columns.peak[number],
    at: columns.at[number],
    area: columns.area[number],
    truth: columns.truth[number],
    reason: columns.reason[number] ?? "",
    shown: columns.shown[number] === 1,
  }));
}

// Scores are compared as the calibration compares them, with 32 bits.
function reaches(image, threshold) {
  return image.score !== null && Math.fround(image.score) >= Math.fround(threshold);
}

export function sideOf(image, threshold) {
  if (image.score === null) return UNREADABLE;
  return reaches(image, threshold) ? "above" : "below";
}

// Where ground truth is known: found, missed, alarm or passed; else the empty string.
export function outcomeOf(image, threshold) {
  if (image.score === null || !image.truth) return "";
  if (image.truth === "abnormal") return reaches(image, threshold) ? "found" : "missed";
  return reaches(image, threshold) ? "alarm" : "passed";
}

export function countBy(images, key) {
  const counts = {};
  for (const image of images) counts[key(image)] = (counts[key(image)] ?? 0) + 1;
  return counts;
}

// Range of the scores, with the threshold in it; [0, 1] where there are none.
export function scoreRange(images, threshold) {
  const scores = images.map((image) => image.score).filter((score) => score !== null);
  if (!scores.length) return [0, 1];
  const [low, high] = ends([...scores, threshold]);
  return high > low ? [low, high] : [Math.max(0, low - 0.01), Math.min(1, high + 0.01)];
}

// How many images are in each of so many equal steps of the score, apart by what is known of them.
export function histogramOf(images, [low, high], bins) {
  const counts = Array.from({ length: bins }, () => ({ normal: 0, abnormal: 0, unknown: 0 }));
  for (const image of images) {
    if (image.score === null) continue;
    const place = Math.floor((bins * (image.score - low)) / (high - low));
    counts[Math.min(bins - 1, Math.max(0, place))][image.truth ?? "unknown"] += 1;
  }
  return counts;
}

// Folders with how many images are in each and below it, by name.
export function foldersOf(images) {
  const counts = new Map();
  for (const image of images) {
    const parts = image.folder ? image.folder.split("/") : [];
    for (let depth = 1; depth <= parts.length; depth++) {
      const folder = parts.slice(0, depth).join("/");
      counts.set(folder, (counts.get(folder) ?? 0) + 1);
    }
  }
  return [...counts].sort(([a], [b]) => a.localeCompare(b, undefined, { numeric: true }));
}

const SORTS = {
  high: (a, b) => a.number - b.number, // the page's own order
  low: (a, b) => (a.score ?? 2) - (b.score ?? 2) || a.number - b.number,
  std: (a, b) => (b.std ?? -1) - (a.std ?? -1) || a.number - b.number,
  near: (a, b, threshold) => distance(a, threshold) - distance(b, threshold) || a.number - b.number,
  name: (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }),
};

function distance(image, threshold) {
  return image.score === null ? 2 : Math.abs(image.score - threshold);
}

// Which images fit what is asked for, in the order that is asked for.
export function chooseImages(images, asked, marks) {
  const sought = asked.search.trim().toLowerCase();
  return images
    .filter((image) => fitsSide(image, asked))
    .filter((image) => !asked.outcome || outcomeOf(image, asked.threshold) === asked.outcome)
    .filter((image) => !asked.folder || image.folder === asked.folder || image.folder.startsWith(`${asked.folder}/`))
    .filter((image) => !asked.tag || (marks.tags.get(image.number) ?? []).includes(asked.tag))
    .filter((image) => !asked.selected || marks.selected.has(image.number))
    .filter((image) => !sought || image.name.toLowerCase().includes(sought))
    .sort((a, b) => SORTS[asked.sort](a, b, asked.threshold));
}

function fitsSide(image, { side, threshold }) {
  if (side === "all") return true;
  return side === "uncertain" ? image.decision === "uncertain" : sideOf(image, threshold) === side;
}

function csvCell(value) {
  const text = value === null || value === undefined ? "" : String(value);
  const safe = typeof value === "string" && FORMULA.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

// Images as CSV, with what was marked and the threshold at which the reader looked at them.
export function csvOf(images, { threshold, root, marks, decided }) {
  const names = [
    "image",
    "path",
    "score",
    "score_std",
    "p_value",
    "decision",
    "truth",
    "threshold_of_the_page",
    "reaches_it",
    "selected",
    "tags",
    "note",
  ];
  const rows = images.map((image) => [
    image.name,
    pathOf(root, image),
    image.score,
    image.std,
    image.p,
    decided || image.score === null ? image.decision : "",
    image.truth,
    threshold,
    image.score === null ? "" : reaches(image, threshold),
    marks.selected.has(image.number),
    (marks.tags.get(image.number) ?? []).join(" "),
    marks.notes.get(image.number) ?? "",
  ]);
  return `${[names, ...rows].map((row) => row.map(csvCell).join(",")).join("\r\n")}\r\n`;
}

export function pathOf(root, image) {
  return root.single ? root.path : `${root.path}/${image.name}`;
}

// Words of a field as tags: parted by commas or spaces, each once.
export function tagsOf(text) {
  return [...new Set(text.split(/[\s,]+/).filter(Boolean))];
}
