// Planes of a volume and where they lie in the patient. The world is RAS: to the right, to the front, to the head, in mm.
//
// A frame says what the shown slices are made of: `row`, `column` and `slice`, the steps (mm) from one row of pixels down
// to the next, from one column to the right to the next, and from one slice to the next.

import { cross, dot, scaled, unit } from "./vectors.js";

const LETTERS = [
  ["R", "L"],
  ["A", "P"],
  ["S", "I"],
];
const NAMES = ["sagittal", "coronal", "axial"];
const SIDES = { R: "right", L: "left", A: "front", P: "back", S: "head", I: "feet" };
const PERMUTATIONS = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 0, 2],
  [1, 2, 0],
  [2, 0, 1],
  [2, 1, 0],
];
// For a plane across each world axis: the world axes that run down and to the right, both against the axis.
const SHOWN = [
  [2, 1],
  [2, 0],
  [1, 0],
];

// The letter of the nearest direction.
export function letterOf(direction) {
  const sizes = direction.map(Math.abs);
  const nearest = sizes.indexOf(Math.max(...sizes));
  return LETTERS[nearest][direction[nearest] < 0 ? 1 : 0];
}

// Letters at the edges of a picture whose columns go `right` and whose rows go `down`.
export function edgesOf(right, down) {
  return {
    left: letterOf(scaled(right, -1)),
    right: letterOf(right),
    top: letterOf(scaled(down, -1)),
    bottom: letterOf(down),
  };
}

// The letter of the side from which a picture is seen.
export function seenFrom(right, down) {
  return letterOf(scaled(cross(right, down), -1));
}

// What a reader must know of a picture's sides.
export function orientationInWords(right, down) {
  const left = SIDES[edgesOf(right, down).left];
  return `Patient's ${left} ${left === "feet" ? "are" : "is"} on your left`;
}

// From which side a picture is seen.
export function viewInWords(right, down) {
  return `seen from the ${SIDES[seenFrom(right, down)]}`;
}

// Ends of the patient's axes in a picture, as places in a circle of radius 1 (right, down), for a mark of orientation.
export function axesOf(right, down) {
  const ends = LETTERS.flatMap((pair, axis) =>
    pair.map((letter, side) => {
      const direction = [0, 0, 0];
      direction[axis] = side ? -1 : 1;
      return { letter, x: dot(direction, unit(right)), y: dot(direction, unit(down)) };
    }),
  );
  return ends.filter(({ x, y }) => Math.hypot(x, y) > 0.25);
}

// World axis nearest to each of row, column and slice, each once.
function worldAxes({ row, column, slice }) {
  const steps = [row, column, slice].map(unit);
  const fit = (axes) => axes.reduce((sum, axis, place) => sum + Math.abs(steps[place][axis]), 0);
  const best = PERMUTATIONS.reduce((a, b) => (fit(b) > fit(a) ? b : a));
  return { row: best[0], column: best[1], slice: best[2] };
}

// The two planes across the shown one: at a fixed row and at a fixed column. Each says which steps go down and to the
// right, whether they are turned about, and the world's directions down and right.
export function crossPlanes(frame) {
  const axes = worldAxes(frame);
  return [planeAt("row", "column", frame, axes), planeAt("column", "row", frame, axes)];
}

function planeAt(fixed, along, frame, axes) {
  const normal = axes[fixed];
  const [downAxis, rightAxis] = SHOWN[normal];
  const down = axes.slice === downAxis ? "slice" : along;
  const right = down === "slice" ? along : "slice";
  const flipped = (step, axis) => frame[step][axis] > 0;
  const flip = { [down]: flipped(down, downAxis), [right]: flipped(right, rightAxis) };
  const turned = (step) => (flip[step] ? scaled(frame[step], -1) : frame[step]);
  return { name: NAMES[normal], fixed, along, down, right, flip, downward: turned(down), rightward: turned(right) };
}

// Place of a point (slot, row, column) in a plane's picture, [line, place in it], for a stack of a given size.
export function inPlane(plane, point, size) {
  const at = (step) => (plane.flip[step] ? size[step] - 1 - point[step] : point[step]);
  return [at(plane.down), at(plane.right)];
}

// The point of a plane's picture, at the place where the plane is now.
export function fromPlane(plane, [line, place], point, size) {
  const at = (step, value) => (plane.flip[step] ? size[step] - 1 - value : value);
  return { ...point, [plane.down]: at(plane.down, line), [plane.right]: at(plane.right, place) };
}
