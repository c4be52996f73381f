// Slices at their true distances: an even grid of slots along the slices' normal, and which slice each slot shows.

import { cross, dot, unit } from "./vectors.js";

const MOST = 4096;

// `slices` holds the number of each slice and the world position of its middle, in order. Between neighbours a slot shows
// the nearer one; where a slice is missing it shows none (-1). Null where positions are unknown or there is one slice.
export function slotsOf(slices, { row, column, slice }) {
  if (slices.length < 2 || !slices.every(({ position }) => position)) return null;
  const across = unit(cross(row, column));
  const normal = dot(across, slice) < 0 ? across.map((value) => -value) : across;
  const along = slices.map(({ position }) => dot(position, normal));
  const gaps = along.slice(1).map((value, place) => value - along[place]);
  const smallest = Math.min(...gaps);
  const span = along.at(-1) - along[0];
  if (!(smallest > 0)) return null;
  const step = Math.max(smallest, span / (MOST - 1));
  const count = Math.round(span / step) + 1;
  const sliceOf = new Int32Array(count).fill(-1);
  let place = 0;
  for (let slot = 0; slot < count; slot++) {
    const at = along[0] + slot * step;
    while (place + 1 < along.length && along[place + 1] - at <= at - along[place]) place++;
    const distance = Math.abs(along[place] - at);
    const neighbour = slices[place + (at > along[place] ? 1 : -1)];
    const beside = neighbour && Math.abs(neighbour.number - slices[place].number) === 1;
    if (distance <= step / 2 || beside) sliceOf[slot] = place;
  }
  return { count, step, sliceOf, slotOf: along.map((value) => Math.round((value - along[0]) / step)) };
}
