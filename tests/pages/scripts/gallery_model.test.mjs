// What a gallery chooses, counts and exports.

import assert from "node:assert/strict";
import test from "node:test";

import {
  chooseImages,
  csvOf,
  foldersOf,
  histogramOf,
  imagesOf,
  outcomeOf,
  scoreRange,
  tagsOf,
} from "../../../src/anomalib_zsad/pages/scripts/pure/gallery_model.js";

const columns = {
  name: ["a/x.png", "a/b/y.png", "=z.png", "torn.png"],
  size: [
    [4, 3],
    [4, 3],
    [4, 3],
    [0, 0],
  ],
  score: [0.9, 0.6, 0.2, null],
  std: [0.1, null, 0.3, null],
  p: [null, null, null, null],
  decision: ["abnormal", "uncertain", "normal", "unreadable"],
  peak: [0.9, 0.6, 0.2, null],
  at: [null, null, null, null],
  area: [0, 0, 0, null],
  truth: ["abnormal", "normal", "abnormal", null],
  reason: { 3: "no picture" },
  shown: [1, 0, 0, 0],
};
const images = imagesOf(columns);
const marks = { tags: new Map([[1, ["check"]]]), notes: new Map([[2, 'a "note"']]), selected: new Set([1]) };
const all = {
  side: "all",
  outcome: "",
  folder: "",
  tag: "",
  selected: false,
  search: "",
  sort: "high",
  threshold: 0.6,
};

test("the threshold counts what reaches it, with 32 bits", () => {
  const above = chooseImages(images, { ...all, side: "above" }, marks);
  assert.deepEqual(
    above.map((image) => image.number),
    [0, 1],
  );
  assert.deepEqual(
    images.map((image) => outcomeOf(image, 0.6)),
    ["found", "alarm", "missed", ""],
  );
});

test("folders count what is below them, and choose it", () => {
  assert.deepEqual(foldersOf(images), [
    ["a", 2],
    ["a/b", 1],
  ]);
  assert.deepEqual(
    chooseImages(images, { ...all, folder: "a/b" }, marks).map((image) => image.name),
    ["a/b/y.png"],
  );
});

test("images come in the order that is asked for", () => {
  const order = (sort) => chooseImages(images, { ...all, sort }, marks).map((image) => image.number);
  assert.deepEqual(order("low"), [2, 1, 0, 3]);
  assert.deepEqual(order("near"), [1, 0, 2, 3]);
  assert.deepEqual(order("std"), [2, 0, 1, 3]);
});

test("the range holds all scores and the threshold, and every image is in one bin", () => {
  assert.deepEqual(scoreRange(images, 0.95), [0.2, 0.95]);
  const bins = histogramOf(images, [0.2, 0.9], 7);
  assert.equal(
    bins.reduce((sum, bin) => sum + bin.normal + bin.abnormal + bin.unknown, 0),
    3,
  );
  assert.equal(bins[0].abnormal, 1);
  assert.equal(bins[6].abnormal, 1);
});

test("an exported table is quoted, and no cell is a formula", () => {
  const text = csvOf(images, { threshold: 0.5, root: { single: false, path: "/in" }, marks, decided: false });
  const lines = text.trimEnd().split("\r\n");
  assert.equal(lines.length, 5);
  assert.match(lines[3], /^'=z\.png,\/in\/=z\.png,0\.2,/);
  assert.match(lines[3], /"a ""note"""$/);
  assert.match(lines[4], /,unreadable,/);
});

test("tags are words, each once", () => {
  assert.deepEqual(tagsOf(" scratch, check  scratch"), ["scratch", "check"]);
});
