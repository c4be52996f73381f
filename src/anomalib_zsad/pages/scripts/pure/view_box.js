// How a picture lies in a pane: fitted, then enlarged and moved. Lengths are those of the screen.
// A view is { zoom, x, y }: x and y are how far the picture's middle is from the pane's.

import { clamp } from "./numbers.js";

export const WHOLE = { zoom: 1, x: 0, y: 0 };
const LARGEST = 16;

// Size of a picture of some proportions (width over height) that just fits into a pane.
export function fitted(shape, pane) {
  const width = Math.min(pane.width, pane.height * shape);
  return { width, height: width / shape };
}

// The view enlarged by a factor about a point of the pane, which stays where it is.
export function zoomedAt(view, factor, point, pane, fit) {
  const zoom = clamp(view.zoom * factor, 1, LARGEST);
  const ratio = zoom / view.zoom;
  const [dx, dy] = [point.x - pane.width / 2, point.y - pane.height / 2];
  return held({ zoom, x: dx + (view.x - dx) * ratio, y: dy + (view.y - dy) * ratio }, pane, fit);
}

export function moved(view, dx, dy, pane, fit) {
  return held({ ...view, x: view.x + dx, y: view.y + dy }, pane, fit);
}

// A picture larger than the pane leaves no gap at its sides; a smaller one stays in the middle.
function held(view, pane, fit) {
  const room = (length, inside) => Math.max(0, (length * view.zoom - inside) / 2);
  const [x, y] = [room(fit.width, pane.width), room(fit.height, pane.height)];
  return { zoom: view.zoom, x: clamp(view.x, -x, x), y: clamp(view.y, -y, y) };
}

// Left, top, width and height of the picture in the pane.
export function boxOf(view, pane, fit) {
  const [width, height] = [fit.width * view.zoom, fit.height * view.zoom];
  return { left: pane.width / 2 + view.x - width / 2, top: pane.height / 2 + view.y - height / 2, width, height };
}

// The view moved as little as needed for a share of the picture (0 to 1 across and down) to be in the pane's inner part.
export function broughtIn(view, share, pane, fit) {
  const box = boxOf(view, pane, fit);
  const need = (start, length, at, inside) => {
    const place = start + length * at;
    const margin = Math.min(40, inside / 4);
    return clamp(place, margin, inside - margin) - place;
  };
  const dx = need(box.left, box.width, share.across, pane.width);
  const dy = need(box.top, box.height, share.down, pane.height);
  return moved(view, dx, dy, pane, fit);
}

// The longest of 1, 2, 5, 10, 20 ... mm that takes at most a share of the pane.
export function rulerLength(millimetre, room) {
  let best = 0;
  for (let power = -1; power <= 3; power++) {
    for (const step of [1, 2, 5]) {
      const length = step * 10 ** power;
      if (length * millimetre <= room) best = Math.max(best, length);
    }
  }
  return best;
}
