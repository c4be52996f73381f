// All slices of the page one behind the other in memory: codes of pictures, or of maps on one scale for all of them.
// They are decoded in the background, coarse to fine, so that planes across them are seen at once and become sharp.

import { decode, greyOf } from "./decode.js";
import { coarseToFine } from "./pure/reformat.js";
import { turn } from "./series_turn.js";

const MOST_CELLS = 48_000_000; // what is kept of pictures; they are reduced within slices beyond that
const MAP_SIDE = 128;
const AT_ONCE = 4;
const TOLD_EVERY = 120; // milliseconds

export class Stack {
  // `read(place)` gives a stored record; `kind` is what of it is decoded; `range` is that of maps, null for pictures.
  constructor(read, count, size, kind, range) {
    Object.assign(this, { read, count, kind, range, done: 0, loaded: new Uint8Array(count) });
    const [rows, columns] = size;
    const side = Math.max(rows, columns);
    const factor = range ? Math.min(1, MAP_SIDE / side) : Math.min(1, Math.sqrt(MOST_CELLS / (count * rows * columns)));
    this.rows = Math.max(1, Math.round(rows * factor));
    this.columns = Math.max(1, Math.round(columns * factor));
    this.data = new Uint8Array(count * this.rows * this.columns);
  }

  get whole() {
    return this.done === this.count;
  }

  // Decode all slices; `tell` is called now and then, and at the end.
  load(tell) {
    this.tellers = [...(this.tellers ?? []), tell];
    this.loading ??= this.decodeAll();
    return this.loading;
  }

  async decodeAll() {
    const order = coarseToFine(this.count);
    let told = performance.now();
    const worker = async () => {
      while (order.length) {
        await turn();
        await this.decodeOne(order.shift());
        if (performance.now() - told < TOLD_EVERY) continue;
        told = performance.now();
        for (const tell of this.tellers) tell();
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    for (const tell of this.tellers) tell();
  }

  async decodeOne(place) {
    const stored = this.read(place)[this.kind];
    const image = stored && (await decode(stored.source ?? stored));
    if (image) {
      const { grey } = greyOf(image, this.columns, this.rows);
      const table = this.range && scaleTable(stored, this.range);
      this.data.set(table ? grey.map((code) => table[code]) : grey, place * this.rows * this.columns);
    }
    this.loaded[place] = 1;
    this.done++;
  }
}

// Codes of a map that span its own range, as codes of the range of all maps.
function scaleTable({ low, high }, [lowest, highest]) {
  const span = highest - lowest || 1;
  return Uint8Array.from({ length: 256 }, (_, code) =>
    Math.round((255 * (low + ((high - low) * code) / 255 - lowest)) / span),
  );
}
