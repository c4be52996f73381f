// What the page holds of its images: sheets of thumbnails with coarse maps, and blocks of large pictures.

import { decode, greyOf, Store } from "./decode.js";
import { page } from "./page_data.js";
import { paint, resize } from "./paint.js";
import { GREYS } from "./pure/colours.js";

const MAP_CELLS = 16;

// Sheets of thumbnails, decoded when one of their images comes into sight.
export class Sheets {
  constructor() {
    this.store = new Store((number) => this.read(number));
  }

  // The sheet of an image; nothing where it is beyond those that the page has room for.
  get(image) {
    return this.store.get(Math.floor(image.number / page.sheets.per));
  }

  async read(number) {
    const stored = await storedBlock("sheet", number);
    if (!stored) return null;
    const picture = await decode(stored.picture);
    const maps = Uint8Array.from(atob(stored.maps), (character) => character.charCodeAt(0));
    return { picture, mapOf: (image, side) => mapCells(maps, image.number % page.sheets.per, side) };
  }
}

// What the page holds of an image or a sheet. It comes behind this script, so it may not be there yet.
export async function storedBlock(kind, number) {
  const find = () => document.querySelector(`script.${kind}[data-${kind}="${number}"]`);
  if (document.readyState === "loading" && !find()?.nextElementSibling) {
    await new Promise((resolve) => document.addEventListener("DOMContentLoaded", resolve, { once: true }));
  }
  const block = find();
  return block && JSON.parse(block.textContent);
}

// The coarse map of an image, smoothly enlarged, as a map of the page.
function mapCells(maps, place, side) {
  const cells = maps.subarray(place * MAP_CELLS ** 2, (place + 1) * MAP_CELLS ** 2);
  const small = new OffscreenCanvas(MAP_CELLS, MAP_CELLS);
  paint(small, { grey: cells, width: MAP_CELLS, height: MAP_CELLS }, GREYS);
  return { ...greyOf(small, side, side), low: page.sheets.range[0], high: page.sheets.range[1] };
}

export function paintThumbnail(canvas, image, sheet) {
  const { side, per, columns } = page.sheets;
  const [width, height] = image.size;
  const factor = Math.min(1, side / Math.max(width, height));
  const [across, down] = [Math.max(1, Math.round(width * factor)), Math.max(1, Math.round(height * factor))];
  const place = image.number % per;
  resize(canvas, across, down);
  canvas
    .getContext("2d")
    .drawImage(
      sheet.picture,
      (place % columns) * side,
      Math.floor(place / columns) * side,
      across,
      down,
      0,
      0,
      across,
      down,
    );
}
