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
