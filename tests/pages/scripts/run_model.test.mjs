// What the index of a run lists, and in which order.

import assert from "node:assert/strict";
import test from "node:test";

import { chooseEntries, valuesOf } from "../../../src/anomalib_zsad/pages/scripts/pure/run_model.js";

const entries = [
  { series: "b", status: "done", modality: "CT", decision: "", score: 0.9, std: null, images: 4, text: "b one gap" },
  { series: "c", status: "done", modality: "MR", decision: "", score: 0.2, std: 0.1, images: 9, text: "c gap of 12" },
  { series: "a", status: "refused", modality: "MR", decision: "", score: null, std: null, images: null, text: "a gap" },
].map((entry, place) => ({ ...entry, place }));
const all = { search: "", status: "", modality: "", decision: "", sort: "listed" };
const names = (asked) => chooseEntries(entries, { ...all, ...asked }).map((entry) => entry.series);

test("entries are chosen by all that is asked for", () => {
  assert.deepEqual(names({}), ["b", "c", "a"]);
  assert.deepEqual(names({ status: "done" }), ["b", "c"]);
  assert.deepEqual(names({ status: "done", modality: "MR" }), ["c"]);
  assert.deepEqual(names({ search: " 12  GAP " }), ["c"]);
  assert.deepEqual(names({ search: "nobody" }), []);
});

test("what has no number comes last in every order", () => {
  assert.deepEqual(names({ sort: "low" }), ["c", "b", "a"]);
  assert.deepEqual(names({ sort: "std" }), ["c", "b", "a"]);
  assert.deepEqual(names({ sort: "images" }), ["c", "b", "a"]);
  assert.deepEqual(names({ sort: "name" }), ["a", "b", "c"]);
});

test("values are offered with how often they are there", () => {
  assert.deepEqual(valuesOf(entries, "modality"), [
    ["MR", 2],
    ["CT", 1],
  ]);
  assert.deepEqual(valuesOf(entries, "decision"), []);
});
