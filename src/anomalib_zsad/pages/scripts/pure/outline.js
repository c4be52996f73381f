// The outline of a mask, along the edges between pixels.

// Straight pieces between pixels inside and outside, in the mask's pixels: [x0, y0, x1, y1] each, as long as they go.
export function outlineOf({ grey, width, height }, from = 128) {
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && grey[y * width + x] >= from;
  const across = runsOf(height + 1, width, (y, x) => inside(x, y - 1) !== inside(x, y));
  const down = runsOf(width + 1, height, (x, y) => inside(x - 1, y) !== inside(x, y));
  return [...across.map(([y, x0, x1]) => [x0, y, x1, y]), ...down.map(([x, y0, y1]) => [x, y0, x, y1])];
}

// Runs of places in a row of each line where `edge(line, place)` holds: [line, first, one past the last].
function runsOf(lines, length, edge) {
  const runs = [];
  for (let line = 0; line < lines; line++) {
    let start = -1;
    for (let place = 0; place <= length; place++) {
      const on = place < length && edge(line, place);
      if (on && start < 0) start = place;
      if (!on && start >= 0) {
        runs.push([line, start, place]);
        start = -1;
      }
    }
  }
  return runs;
}
