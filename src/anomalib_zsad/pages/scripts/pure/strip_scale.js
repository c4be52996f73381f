// Where scores of slices lie on the strip, and which of them are drawn together.

import { clamp, ends } from "./numbers.js";

export const MARGIN = { left: 44, right: 12, top: 12, bottom: 20 };

// Places on a strip of a size for `rows` with slice, score, std, decision and flagged. A band reaches `uncertainty`
// standard deviations to either side; the threshold may be null.
export function stripScale(rows, threshold, uncertainty, { width, height }) {
  const spread = (row) => (row.std ?? 0) * uncertainty;
  const [first, last] = ends(rows.map((row) => row.slice));
  const [low, high] = rangeOf(rows, threshold, spread);
  const gap = (width - MARGIN.left - MARGIN.right) / rows.length;
  const x = (slice) => {
    const share = last > first ? (slice - first) / (last - first) : 0.5;
    return MARGIN.left + 8 + share * (width - MARGIN.left - MARGIN.right - 16);
  };
  const y = (score) => {
    const share = (clamp(score, low, high) - low) / (high - low);
    return height - MARGIN.bottom - share * (height - MARGIN.top - MARGIN.bottom);
  };
  return { first, last, low, high, gap, x, y, spread };
}

// Range of the scores shown: all of them with their band, and the threshold, with room around.
function rangeOf(rows, threshold, spread) {
  const scored = rows.filter((row) => row.decision !== "blank");
  const values = scored.flatMap((row) => [row.score - spread(row), row.score + spread(row)]);
  if (threshold !== null) values.push(Math.min(1, threshold));
  if (!values.length) return [0, 1];
  const [low, high] = ends(values);
  const room = Math.max(0.02, 0.08 * (high - low));
  return [Math.max(0, low - room), Math.min(1, high + room)];
}

// The place in the list of the slice that is nearest to a place on the strip.
export function nearestPlace(rows, scale, x) {
  const distances = rows.map((row) => Math.abs(scale.x(row.slice) - x));
  return distances.indexOf(Math.min(...distances));
}

// Neighbouring scored slices; a blank slice or an empty place parts them.
export function runsOfSlices(rows) {
  const runs = [];
  rows.forEach((row, place) => {
    if (row.decision === "blank") return;
    const before = rows[place - 1];
    if (before && before.decision !== "blank" && before.slice === row.slice - 1) runs.at(-1).push(row);
    else runs.push([row]);
  });
  return runs;
}

// Rows with a mark of their own: where there are very many, one of each kind for each column of pixels.
export function markedRows(rows, scale) {
  if (scale.gap >= 1) return rows;
  const key = (row) => `${row.decision}/${row.flagged}/${Math.round(scale.x(row.slice))}`;
  return [...new Map(rows.map((row) => [key(row), row])).values()];
}
