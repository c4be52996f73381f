// What the index of a run knows of its entries: which are listed, and in which order. Nothing here draws.

function byNumber(name, sign) {
  // What has no number comes last, in whatever order the others are.
  return (a, b) =>
    (a[name] === null) - (b[name] === null) || sign * ((a[name] ?? 0) - (b[name] ?? 0)) || a.place - b.place;
}

const ORDERS = {
  listed: (a, b) => a.place - b.place,
  low: byNumber("score", 1),
  std: byNumber("std", -1),
  images: byNumber("images", -1),
  name: (a, b) => (a.series < b.series ? -1 : Number(a.series > b.series)) || a.place - b.place,
};

// Entries that fit what was asked for: every word of the search, and whatever else is not empty.
export function chooseEntries(entries, asked) {
  const words = asked.search.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (entry) =>
    ["status", "modality", "decision"].every((name) => !asked[name] || entry[name] === asked[name]) &&
    words.every((word) => entry.text.includes(word));
  return entries.filter(fits).sort(ORDERS[asked.sort]);
}

// The values that some entries have, with how many have each, the most frequent first.
export function valuesOf(entries, name) {
  const counts = new Map();
  for (const entry of entries) if (entry[name]) counts.set(entry[name], (counts.get(entry[name]) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
}
