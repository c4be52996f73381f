// What reaches a threshold in maps that lie one behind the other in memory: slices, connected regions, cells.

// Neighbours of a cell that come before it: 26 in a stack in space, 8 within a slice.
const BEFORE = [];
for (const dz of [-1, 0]) {
  for (const dy of [-1, 0, 1]) {
    for (const dx of [-1, 0, 1]) {
      if (dz < 0 || dy < 0 || (dy === 0 && dx < 0)) BEFORE.push([dz, dy, dx]);
    }
  }
}

// `stack` has data (8 bits), count, rows and columns; `from` is the lowest code that counts; `joined` tells of each slice
// whether it continues the one before it. Regions are counted by their highest roots in a forest of cells.
export function countAbove(stack, from, joined) {
  const { data, count, rows, columns } = stack;
  const size = rows * columns;
  const cells = new Array(count).fill(0);
  const parents = [];
  const labels = [new Int32Array(size), new Int32Array(size)];
  const root = (label) => {
    let at = label;
    while (parents[at] !== at) {
      parents[at] = parents[parents[at]];
      at = parents[at];
    }
    return at;
  };
  let merged = 0;
  for (let slice = 0; slice < count; slice++) {
    const [before, now] = [labels[(slice + 1) % 2], labels[slice % 2]];
    now.fill(-1);
    for (let y = 0, cell = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++, cell++) {
        if (data[slice * size + cell] < from) continue;
        cells[slice]++;
        let label = -1;
        for (const [dz, dy, dx] of BEFORE) {
          if (dz && !joined[slice]) continue;
          if (x + dx < 0 || x + dx >= columns || y + dy < 0 || y + dy >= rows) continue;
          const other = (dz ? before : now)[cell + dy * columns + dx];
          if (other < 0) continue;
          const found = root(other);
          if (label < 0) label = found;
          else if (found !== label) {
            parents[Math.max(found, label)] = Math.min(found, label);
            label = Math.min(found, label);
            merged++;
          }
        }
        if (label < 0) {
          label = parents.length;
          parents.push(label);
        }
        now[cell] = label;
      }
    }
  }
  return { cells, slices: cells.filter(Boolean).length, regions: parents.length - merged };
}

// The lowest code whose value reaches a threshold, for codes 0 to 255 that span low to high.
export function codeFrom(threshold, low, high) {
  if (high <= low) return low >= threshold ? 0 : 256;
  return Math.max(0, Math.ceil((255 * (threshold - low)) / (high - low) - 1e-6));
}
