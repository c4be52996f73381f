// From slice to slice and from region to region; the place is kept in the page's address.

import { byId } from "./dom.js";
import { page } from "./page_data.js";
import { addressOf, sliceInAddress } from "./pure/address.js";
import { clamp } from "./pure/numbers.js";
import { formatScore, inWords } from "./pure/words.js";
import { mainPane } from "./series_pictures.js";
import { choose, chosen, tellAll, watch } from "./series_state.js";

const SETTLED = 250; // milliseconds: browsers bound how often an address may change

// Go to a slice by its place in the list. A film stops, also at the slice that it shows at this moment.
export function go(place) {
  choose({ place: clamp(place, 0, Math.max(0, page.rows.length - 1)), region: null, playing: false });
}

export function placeOf(slice) {
  return page.rows.findIndex((row) => row.slice === slice);
}

export function goToRegion(number) {
  const region = page.regions.find((one) => one.number === number);
  const [row, column] = region.pixel ?? [chosen.row, chosen.column];
  choose({ place: placeOf(region.slice), row, column, region: number });
  mainPane.bringIn([row, column]);
  bringIntoSight();
}

// The next or the previous region among those that reach the threshold.
export function stepRegion(by) {
  const numbers = page.regions.filter(({ peak }) => peak >= chosen.threshold).map(({ number }) => number);
  if (!numbers.length) return;
  const place = numbers.indexOf(chosen.region ?? latest);
  const start = by > 0 ? 0 : numbers.length - 1;
  goToRegion(numbers[place < 0 ? start : (place + by + numbers.length) % numbers.length]);
}

let latest = null; // the region gone to last: slices may have been looked at since

export function inSight() {
  const box = byId("views").getBoundingClientRect();
  return box.bottom > box.height / 2 && box.top < window.innerHeight - box.height / 2;
}

export function bringIntoSight() {
  if (!inSight()) byId("views").scrollIntoView({ block: "start" });
}

function showPlace() {
  const row = page.rows[chosen.place];
  if (!row) return;
  byId("slice").value = chosen.place;
  byId("slice-number").value = row.slice;
  byId("slice").setAttribute("aria-valuetext", `slice ${row.slice}`);
  byId("corner-slice").textContent = `Slice ${row.slice} (${chosen.place + 1} of ${page.rows.length})`;
  const label = `Slice ${row.slice}, ${inWords(row.decision)}, score ${formatScore(row.score)}`;
  byId("stage").setAttribute("aria-label", label);
  clearTimeout(showPlace.timer);
  showPlace.timer = setTimeout(() => {
    const address = addressOf(row.slice);
    if (location.hash !== address) history.replaceState(null, "", address);
  }, SETTLED);
}

function followAddress() {
  const place = placeOf(sliceInAddress(location.hash));
  if (place >= 0 && place !== chosen.place) go(place);
  return place >= 0;
}

// The slice of the address, else the one that the page was made to begin with.
export function begin() {
  const { slice, pixel, region } = page.start;
  const [row, column] = pixel ?? page.size.map((length) => Math.floor(length / 2));
  choose({ row, column });
  if (!followAddress()) choose({ place: Math.max(0, placeOf(slice)), region });
  tellAll();
}

watch((names) => {
  if (chosen.region !== null) latest = chosen.region;
  if (names.has("place")) showPlace();
});
window.addEventListener("hashchange", followAddress);
