// Planes cut from slices that lie one behind the other in memory.

// The picture of a plane at a row or column of the stack, with a line for each slot; slots without slice are 0.
// `stack` has data (8 bits, slice after slice), rows and columns; `sliceOf` tells each slot's slice, -1 for none.
export function cutPlane(stack, sliceOf, plane, at) {
  const { data, rows, columns } = stack;
  const slots = sliceOf.length;
  const length = plane.fixed === "row" ? columns : rows;
  const start = plane.fixed === "row" ? at * columns : at;
  const stride = plane.fixed === "row" ? 1 : columns;
  const [width, height] = plane.down === "slice" ? [length, slots] : [slots, length];
  const [slotStride, stepStride] = plane.down === "slice" ? [width, 1] : [1, width];
  const grey = new Uint8Array(width * height);
  for (let slot = 0; slot < slots; slot++) {
    if (sliceOf[slot] < 0) continue;
    const line = (plane.flip.slice ? slots - 1 - slot : slot) * slotStride;
    let from = sliceOf[slot] * rows * columns + start;
    let to = line + (plane.flip[plane.along] ? (length - 1) * stepStride : 0);
    const forward = plane.flip[plane.along] ? -stepStride : stepStride;
    for (let i = 0; i < length; i++) {
      grey[to] = data[from];
      from += stride;
      to += forward;
    }
  }
  return { grey, width, height };
}

// Numbers 0 to count - 1, coarse to fine: whoever stops early has seen all parts.
export function coarseToFine(count) {
  const order = [];
  const seen = new Uint8Array(count);
  for (let stride = 2 ** Math.ceil(Math.log2(Math.max(1, count))); stride >= 1; stride /= 2) {
    for (let place = 0; place < count; place += stride) {
      if (!seen[place]) order.push(place);
      seen[place] = 1;
    }
  }
  return order;
}

// While slices are still to come: each slot's slice, or the nearest one that is there.
export function nearestLoaded(sliceOf, loaded) {
  const nearest = new Int32Array(loaded.length).fill(-1);
  let last = -1;
  for (let place = 0; place < loaded.length; place++) {
    if (loaded[place]) last = place;
    nearest[place] = last;
  }
  let next = -1;
  for (let place = loaded.length - 1; place >= 0; place--) {
    if (loaded[place]) next = place;
    if (next >= 0 && (nearest[place] < 0 || next - place < place - nearest[place])) nearest[place] = next;
  }
  return sliceOf.map((place) => (place < 0 ? -1 : nearest[place]));
}
