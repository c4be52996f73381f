// Where scores lie on the strip.

import assert from "node:assert/strict";
import test from "node:test";

import {
  MARGIN,
  markedRows,
  nearestPlace,
  runsOfSlices,
  stripScale,
} from "../../../src/anomalib_zsad/pages/scripts/pure/strip_scale.js";

const row = (slice, score, decision = "normal", std = null) => ({ slice, score, decision, std, flagged: false });
const rows = [row(0, 0.2), row(1, 0, "blank"), row(2, 0.4), row(3, 0.6, "abnormal", 0.1), row(5, 0.5)];
const size = { width: 600, height: 150 };

test("all scores with their bands and the threshold are in sight", () => {
  const scale = stripScale(rows, 0.9, 2, size);
  assert.ok(scale.low < 0.2 && scale.high > 0.9);
  for (const { score } of rows) assert.ok(scale.y(score) >= MARGIN.top && scale.y(score) <= 130);
  assert.ok(scale.y(0.6) < scale.y(0.4), "higher scores are higher up");
  assert.equal(scale.spread(rows[3]), 0.2);
});

test("slices lie at their numbers, and the nearest one is found", () => {
  const scale = stripScale(rows, null, 1, size);
  assert.ok(Math.abs(scale.x(3) - (scale.x(1) + scale.x(5)) / 2) < 1e-9);
  rows.forEach(({ slice }, place) => {
    assert.equal(nearestPlace(rows, scale, scale.x(slice) + 3), place);
  });
  assert.equal(nearestPlace(rows, scale, -100), 0);
});

test("a blank slice and a missing one part the line", () => {
  assert.deepEqual(
    runsOfSlices(rows).map((run) => run.map(({ slice }) => slice)),
    [[0], [2, 3], [5]],
  );
});

test("one slice, and none that is scored, have a scale too", () => {
  const scale = stripScale([row(7, 0, "blank")], null, 1, size);
  assert.deepEqual([scale.low, scale.high], [0, 1]);
  assert.ok(scale.x(7) > 0 && scale.x(7) < 600);
});

test("of thousands of slices one of each kind has a mark in a column of pixels", () => {
  const many = Array.from({ length: 5000 }, (_, slice) => row(slice, 0.5, slice === 2500 ? "abnormal" : "normal"));
  const marked = markedRows(many, stripScale(many, null, 1, size));
  assert.ok(marked.length < 600);
  assert.ok(marked.some(({ slice }) => slice === 2500));
});
