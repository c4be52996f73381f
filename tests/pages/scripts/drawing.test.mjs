// Outlines, colours and words.

import assert from "node:assert/strict";
import test from "node:test";

import { colourTable, pack, windowTable } from "../../../src/anomalib_zsad/pages/scripts/pure/colours.js";
import { outlineOf } from "../../../src/anomalib_zsad/pages/scripts/pure/outline.js";
import { formatScore, inWords, readable } from "../../../src/anomalib_zsad/pages/scripts/pure/words.js";

test("a window maps values to greys, black below it and white above", () => {
  const greys = Array.from(windowTable([-1000, 0, 40, 80, 1000], 80, 40), (pixel) => pixel & 255);
  assert.deepEqual(greys, [0, 0, 128, 255, 255]);
});

test("a map is clear at the low end of its scale and opaque at the high end", () => {
  const scale = {
    low: 0.2,
    high: 0.8,
    colours: Array.from({ length: 256 }, (_, code) => `#0000${code.toString(16).padStart(2, "0")}`),
  };
  const table = colourTable({ low: 0, high: 1 }, scale);
  assert.equal(table[0] >>> 24, 0);
  assert.equal(table[255], pack(0, 0, 255, 255));
  assert.equal((table[128] >> 16) & 255, 128);
});

test("the outline of a mask goes once around it, in straight pieces", () => {
  const grey = new Uint8Array(20);
  for (const place of [6, 7, 11, 12]) grey[place] = 255; // 2 x 2 of 5 x 4
  const pieces = outlineOf({ grey, width: 5, height: 4 });
  assert.deepEqual(new Set(pieces.map(String)), new Set(["1,1,3,1", "1,3,3,3", "1,1,1,3", "3,1,3,3"]));
});

test("an outline follows the border of the picture and any level", () => {
  const mask = { grey: Uint8Array.from([10, 20, 30, 40]), width: 2, height: 2 };
  const length = (from) => outlineOf(mask, from).reduce((sum, [a, b, c, d]) => sum + c - a + d - b, 0);
  assert.equal(length(10), 8);
  assert.equal(length(25), 6);
  assert.equal(length(41), 0);
});

test("scores and decisions are said in words", () => {
  assert.deepEqual([null, 0, 0.5, 0.000456].map(formatScore), ["–", "0.000", "0.500", "0.00046"]);
  assert.deepEqual(["abnormal", "normal", "uncertain"].map(inWords), [
    "above threshold",
    "below threshold",
    "uncertain",
  ]);
  assert.deepEqual([1234.56, 0.5].map(readable), ["1235", "0.5"]);
});
