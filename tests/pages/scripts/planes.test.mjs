// Planes across the shown slices, and where they lie in the patient.

import assert from "node:assert/strict";
import test from "node:test";

import {
  axesOf,
  crossPlanes,
  edgesOf,
  fromPlane,
  inPlane,
  orientationInWords,
  viewInWords,
} from "../../../src/anomalib_zsad/pages/scripts/pure/planes.js";
import { coarseToFine, cutPlane, nearestLoaded } from "../../../src/anomalib_zsad/pages/scripts/pure/reformat.js";
import { slotsOf } from "../../../src/anomalib_zsad/pages/scripts/pure/slots.js";

const L = [-0.5, 0, 0];
const P = [0, -0.5, 0];
const I = [0, 0, -2];
const axial = { row: P, column: L, slice: [0, 0, 2] };
const sagittal = { row: I, column: P, slice: [-1, 0, 0] };
const coronal = { row: I, column: L, slice: [0, -1, 0] };

test("letters and words of the usual views", () => {
  assert.deepEqual(edgesOf(L, P), { left: "R", right: "L", top: "A", bottom: "P" });
  assert.equal(orientationInWords(L, P), "Patient's right is on your left");
  assert.equal(viewInWords(L, P), "seen from the feet");
  assert.equal(viewInWords(L, I), "seen from the front");
  assert.equal(orientationInWords(P, I), "Patient's front is on your left");
  assert.equal(viewInWords(P, I), "seen from the left");
  assert.equal(orientationInWords([0, 0, 1], P), "Patient's feet are on your left");
  assert.equal(orientationInWords([1, 0, 0], P), "Patient's left is on your left");
});

test("oblique slices have the letters of the nearest directions, and a mark that leans", () => {
  const right = [-0.9, -0.1, 0.3];
  assert.deepEqual(edgesOf(right, P), { left: "R", right: "L", top: "A", bottom: "P" });
  const ends = Object.fromEntries(axesOf(right, P).map(({ letter, x, y }) => [letter, [x, y]]));
  assert.deepEqual(Object.keys(ends).sort(), ["A", "I", "L", "P", "R", "S"]);
  assert.ok(ends.S[0] > 0.3 && ends.S[0] < 0.33);
  assert.deepEqual(
    axesOf(L, P)
      .map(({ letter }) => letter)
      .sort(),
    ["A", "L", "P", "R"],
  );
});

test("every plane is shown as radiologists look at it, whatever was acquired", () => {
  const shown = { axial: ["R", "A"], coronal: ["R", "S"], sagittal: ["A", "S"] };
  for (const [name, frame] of Object.entries({ axial, sagittal, coronal })) {
    const planes = crossPlanes(frame);
    const others = Object.keys(shown).filter((other) => other !== name);
    assert.deepEqual(planes.map((plane) => plane.name).sort(), others.sort());
    for (const plane of planes) {
      const { left, top } = edgesOf(plane.rightward, plane.downward);
      assert.deepEqual([left, top], shown[plane.name], `${plane.name} from ${name}`);
    }
  }
});

test("a stack that runs to the feet is not turned about, one that runs to the head is", () => {
  assert.deepEqual(
    crossPlanes(axial).map((plane) => plane.flip.slice),
    [true, true],
  );
  assert.deepEqual(
    crossPlanes({ ...axial, slice: I }).map((plane) => plane.flip.slice),
    [false, false],
  );
});

test("a point goes into a plane and back", () => {
  const size = { row: 40, column: 48, slice: 12 };
  const point = { row: 7, column: 30, slice: 5 };
  for (const frame of [axial, sagittal, coronal]) {
    for (const plane of crossPlanes(frame)) {
      const pixel = inPlane(plane, point, size);
      const elsewhere = { row: 1, column: 1, slice: 1, [plane.fixed]: point[plane.fixed] };
      assert.deepEqual(fromPlane(plane, pixel, elsewhere, size), point);
    }
  }
});

test("a plane shows the voxels of its row or column, each where the point says", () => {
  const [rows, columns, count] = [3, 4, 5];
  const data = Uint8Array.from({ length: rows * columns * count }, (_, place) => place);
  const sliceOf = Int32Array.from({ length: count }, (_, slot) => slot);
  const size = { row: rows, column: columns, slice: count };
  for (const frame of [axial, sagittal, coronal, { ...axial, slice: I }]) {
    for (const plane of crossPlanes(frame)) {
      const at = { row: 1, column: 2 }[plane.fixed];
      const picture = cutPlane({ data, rows, columns }, sliceOf, plane, at);
      assert.equal(picture.grey.length, picture.width * picture.height);
      for (let slice = 0; slice < count; slice++) {
        for (let along = 0; along < size[plane.along]; along++) {
          const point = { slice, [plane.fixed]: at, [plane.along]: along };
          const [line, place] = inPlane(plane, point, size);
          const value = data[(slice * rows + point.row) * columns + point.column];
          assert.equal(picture.grey[line * picture.width + place], value);
        }
      }
    }
  }
});

const at = (...heights) => heights.map((z, number) => ({ number, position: [0, 0, z] }));

test("even slices get a slot each", () => {
  const slots = slotsOf(at(0, 2, 4, 6), axial);
  assert.deepEqual([slots.count, slots.step, [...slots.sliceOf]], [4, 2, [0, 1, 2, 3]]);
});

test("a missing slice leaves its slot empty, uneven slices fill theirs", () => {
  const missing = [0, 2, 6].map((z, place) => ({ number: [0, 1, 3][place], position: [0, 0, z] }));
  assert.deepEqual([...slotsOf(missing, axial).sliceOf], [0, 1, -1, 2]);
  const uneven = slotsOf(at(0, 2, 8), axial);
  assert.deepEqual([...uneven.sliceOf], [0, 1, 1, 2, 2]);
  assert.deepEqual(uneven.slotOf, [0, 1, 4]);
});

test("without positions, with one slice or with two at one place there are no planes", () => {
  assert.equal(
    slotsOf(
      [
        { number: 0, position: null },
        { number: 1, position: null },
      ],
      axial,
    ),
    null,
  );
  assert.equal(slotsOf(at(3), axial), null);
  assert.equal(slotsOf(at(3, 3), axial), null);
});

test("slices are decoded coarse to fine, each once, and stand in for those still to come", () => {
  assert.deepEqual(coarseToFine(6), [0, 4, 2, 1, 3, 5]);
  assert.deepEqual(coarseToFine(0), []);
  assert.deepEqual(coarseToFine(1), [0]);
  const nearest = nearestLoaded(Int32Array.from([0, 1, 2, 3, -1, 4]), Uint8Array.from([1, 0, 0, 0, 1]));
  assert.deepEqual([...nearest], [0, 0, 0, 4, -1, 4]);
});
