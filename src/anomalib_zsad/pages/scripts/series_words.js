// Places and distances of a series in words.

import { page } from "./page_data.js";
import { distanceOf } from "./pure/vectors.js";
import { positionInWords } from "./pure/words.js";
import { worldOf } from "./series_state.js";

// In mm where the pixels' size is known, else in pixels.
export function distanceInWords(first, second) {
  const [a, b] = [worldOf(first), worldOf(second)];
  if (a && b) return `${distanceOf(a, b).toFixed(1)} mm`;
  const [down, across] = [second.row - first.row, second.column - first.column];
  if (page.spacing) return `${Math.hypot(down * page.spacing[0], across * page.spacing[1]).toFixed(1)} mm`;
  return `${Math.hypot(down, across).toFixed(1)} pixels`;
}

export function placeInWords(point) {
  const world = worldOf(point);
  return world ? `${positionInWords(world)} mm` : `row ${point.row}, column ${point.column}`;
}
