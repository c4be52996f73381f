// Decisions and numbers in words.

// What is above a threshold need not be abnormal, what is below it not normal.
export function inWords(decision) {
  return { abnormal: "above threshold", normal: "below threshold", undecided: "not decided" }[decision] ?? decision;
}

export function formatScore(value) {
  if (value === null || value === undefined) return "–";
  return value === 0 || Math.abs(value) >= 0.01 ? value.toFixed(3) : value.toPrecision(2);
}

// Four significant digits at most, no exponent where none is needed.
export function readable(value) {
  return Number(value.toPrecision(4)).toString();
}

// A world position (RAS, mm), each coordinate by the side it lies on.
export function positionInWords(position) {
  const sides = ["RL", "AP", "SI"];
  return position
    .map((value, axis) => `${sides[axis][value < 0 ? 1 : 0]} ${Math.abs(Math.round(10 * value) / 10).toFixed(1)}`)
    .join("  ");
}

// A volume in ml, with two significant digits below 10 ml.
export function millilitres(cubicMillimetres) {
  const ml = cubicMillimetres / 1000;
  if (ml >= 10) return `${Math.round(ml).toLocaleString("en")} ml`;
  return `${Number(ml.toPrecision(2))} ml`;
}
