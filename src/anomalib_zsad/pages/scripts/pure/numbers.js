// Small arithmetic.

// Lowest and highest of many numbers.
export function ends(numbers) {
  return [numbers.reduce((a, b) => Math.min(a, b)), numbers.reduce((a, b) => Math.max(a, b))];
}

export function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}
