// Vectors of three numbers.

export const add = (a, b) => a.map((value, axis) => value + b[axis]);
export const scaled = (a, factor) => a.map((value) => value * factor);
export const dot = (a, b) => a.reduce((sum, value, axis) => sum + value * b[axis], 0);
export const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
export const lengthOf = (a) => Math.sqrt(dot(a, a));
export const unit = (a) => scaled(a, 1 / lengthOf(a));
export const distanceOf = (a, b) => lengthOf(add(b, scaled(a, -1)));
