// What the reader has chosen, and who is told of it.

import { page } from "./page_data.js";

export const chosen = {
  place: 0, // of the slice, in the list of slices
  row: 0, // the crosshair, in pixels of the slice
  column: 0,
  overlay: "map",
  last: "map", // the overlay that comes back
  opacity: 0.35,
  outline: true,
  hidden: false, // for as long as a key or a button is held
  threshold: page.thresholds.mask,
  region: null, // number of the region gone to
  distance: null, // two points, { place, row, column } each; the second one may be missing
  playing: false, // slices one after the other
  layout: "one",
  tool: "window",
  table: null, // from codes to greys
  colours: null,
};

const watchers = [];

export function watch(watcher) {
  watchers.push(watcher);
}

// Change something: watchers are told which names changed.
export function choose(changes) {
  const names = new Set(Object.keys(changes).filter((name) => chosen[name] !== changes[name]));
  if (!names.size) return;
  Object.assign(chosen, changes);
  for (const watcher of watchers) watcher(names);
}

// Tell everybody of everything, once at the start.
export function tellAll() {
  for (const watcher of watchers) watcher(new Set(Object.keys(chosen)));
}

// Where a point (place of a slice, row and column of pixels) lies in the patient (RAS, mm); null where unknown.
export function worldOf({ place, row, column }) {
  const middle = page.rows[place]?.position;
  if (!middle || !page.frame) return null;
  const [down, right] = [row - page.frame.middle[0], column - page.frame.middle[1]];
  return middle.map((value, axis) => value + down * page.frame.row[axis] + right * page.frame.column[axis]);
}
