// A colour for each region: told apart with every kind of colour vision, bright on dark pictures.

const COLOURS = ["#56b4e9", "#f0e442", "#ff9f40", "#4fd1a5", "#e58ac8", "#ff6f61", "#a7c4ff", "#c9e265"];

export function regionColour(number) {
  return COLOURS[(number - 1) % COLOURS.length];
}
