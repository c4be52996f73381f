// How pictures lie in panes, what reaches a threshold, addresses, and words.

import assert from "node:assert/strict";
import test from "node:test";

import { addressOf, sliceInAddress } from "../../../src/anomalib_zsad/pages/scripts/pure/address.js";
import { codeFrom, countAbove } from "../../../src/anomalib_zsad/pages/scripts/pure/threshold_counts.js";
import { distanceOf } from "../../../src/anomalib_zsad/pages/scripts/pure/vectors.js";
import {
  boxOf,
  broughtIn,
  fitted,
  moved,
  rulerLength,
  WHOLE,
  zoomedAt,
} from "../../../src/anomalib_zsad/pages/scripts/pure/view_box.js";
import { millilitres, positionInWords } from "../../../src/anomalib_zsad/pages/scripts/pure/words.js";

const pane = { width: 400, height: 200 };
const fit = fitted(1, pane);

test("a picture takes the room there is, in its proportions, in the middle", () => {
  assert.deepEqual(fit, { width: 200, height: 200 });
  assert.deepEqual(boxOf(WHOLE, pane, fit), { left: 100, top: 0, width: 200, height: 200 });
  assert.deepEqual(fitted(4, pane), { width: 400, height: 100 });
});

test("what is under the cursor stays there while it grows", () => {
  const point = { x: 180, y: 60 };
  const share = (view) => {
    const box = boxOf(view, pane, fit);
    return [(point.x - box.left) / box.width, (point.y - box.top) / box.height];
  };
  const view = zoomedAt(zoomedAt(WHOLE, 3, { x: 200, y: 100 }, pane, fit), 1.5, point, pane, fit);
  const before = share(zoomedAt(WHOLE, 3, { x: 200, y: 100 }, pane, fit));
  assert.equal(view.zoom, 4.5);
  const after = share(view);
  for (const axis of [0, 1]) assert.ok(Math.abs(after[axis] - before[axis]) < 1e-9);
});

test("it is never smaller than whole, never beyond sixteen times, and leaves no gap", () => {
  assert.deepEqual(zoomedAt(WHOLE, 0.1, { x: 0, y: 0 }, pane, fit), WHOLE);
  assert.equal(zoomedAt(WHOLE, 1000, { x: 0, y: 0 }, pane, fit).zoom, 16);
  const far = boxOf(moved({ zoom: 4, x: 0, y: 0 }, 9999, 9999, pane, fit), pane, fit);
  assert.deepEqual([far.left, far.top], [0, 0]);
  assert.deepEqual(moved(WHOLE, 50, 50, pane, fit), WHOLE);
});

test("a place out of sight is brought in, one in sight moves nothing", () => {
  const view = { zoom: 4, x: 0, y: 0 };
  assert.deepEqual(broughtIn(view, { across: 0.5, down: 0.5 }, pane, fit), view);
  const box = boxOf(broughtIn(view, { across: 0.02, down: 0.98 }, pane, fit), pane, fit);
  const [x, y] = [box.left + 0.02 * box.width, box.top + 0.98 * box.height];
  assert.ok(x >= 0 && x <= pane.width && y >= 0 && y <= pane.height);
});

test("rulers are round", () => {
  assert.equal(rulerLength(2, 130), 50);
  assert.equal(rulerLength(40, 130), 2);
  assert.equal(rulerLength(0.01, 100), 5000);
});

test("regions are counted in space, with edges and corners, and apart where slices are no neighbours", () => {
  const stack = { data: new Uint8Array(3 * 4 * 4), count: 3, rows: 4, columns: 4 };
  for (const place of [0, 5, 16 + 10, 16 + 15, 32 + 3]) stack.data[place] = 9; // a chain by corners, and one alone
  const joined = countAbove(stack, 9, [false, true, true]);
  assert.deepEqual([joined.regions, joined.slices, joined.cells], [2, 3, [2, 2, 1]]);
  assert.equal(countAbove(stack, 9, [false, false, true]).regions, 3);
  assert.equal(countAbove(stack, 10, [false, true, true]).regions, 0);
});

test("parts that meet later are one region", () => {
  const shape = ["#.#", "#.#", "###"].join("");
  const data = Uint8Array.from(shape, (sign) => (sign === "#" ? 1 : 0));
  assert.equal(countAbove({ data, count: 1, rows: 3, columns: 3 }, 1, [false]).regions, 1);
  const stack = { data: Uint8Array.from([1, 0, 1, 1, 1, 1]), count: 2, rows: 1, columns: 3 };
  assert.equal(countAbove(stack, 1, [false, true]).regions, 1);
});

test("the lowest code that reaches a threshold", () => {
  assert.deepEqual(
    [0, 0.5, 1, 1.1].map((value) => codeFrom(value, 0, 1)),
    [0, 128, 255, 281],
  );
  assert.equal(codeFrom(0.5, 0.6, 0.9), 0);
  assert.equal(codeFrom(0.5, 0.5, 0.5), 0);
  assert.equal(codeFrom(0.6, 0.5, 0.5), 256);
});

test("an address tells a slice, or nothing", () => {
  assert.equal(sliceInAddress(addressOf(5)), 5);
  assert.equal(sliceInAddress("#slice=0"), 0);
  for (const hash of ["", "#", "#slice=", "#slice=x", "#slice=-3", "#other=2"])
    assert.equal(sliceInAddress(hash), null);
});

test("positions, distances and volumes in words", () => {
  assert.equal(positionInWords([12.34, -5, 0]), "R 12.3  P 5.0  S 0.0");
  assert.equal(distanceOf([0, 0, 0], [1, 2, 2]), 3);
  assert.deepEqual([1234567, 12345, 1234, 98].map(millilitres), ["1,235 ml", "12 ml", "1.2 ml", "0.098 ml"]);
});
