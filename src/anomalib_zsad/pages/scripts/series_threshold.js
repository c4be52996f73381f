// The slider of the map's threshold: outlines follow it, and what reaches it is counted.

import { byId } from "./dom.js";
import { page } from "./page_data.js";
import { codeFrom, countAbove } from "./pure/threshold_counts.js";
import { formatScore, millilitres } from "./pure/words.js";
import { stackOf } from "./series_planes.js";
import { choose, chosen, watch } from "./series_state.js";

const COUNT_AFTER = 120; // milliseconds

// Slices continue those before them where they are neighbours in space and in number.
const joined = page.rows.map((row, place) =>
  Boolean(page.stacked && place && row.slice - page.rows[place - 1].slice === 1),
);

function sizeOf(place) {
  const sizes = page.pixel_volumes;
  return sizes && (sizes.length === 1 ? sizes[0] : sizes[place]);
}

function countsInWords(slices, regions, volume) {
  const many = (count, name) => `${count.toLocaleString("en")} ${name}${count === 1 ? "" : "s"}`;
  const parts = [`${slices.toLocaleString("en")} of ${many(page.rows.length, "slice")}`, many(regions, "region")];
  return [...parts, ...(volume === null ? [] : [millilitres(volume)])].join(", ");
}

async function countAgain() {
  const at = chosen.threshold;
  if (at === page.thresholds.mask) {
    const { slices, regions, volume } = page.totals;
    byId("counts").textContent = countsInWords(slices, regions, volume);
    return;
  }
  const stack = stackOf("map");
  if (!stack.whole) byId("counts").textContent = "counting …";
  await stack.load(() => {});
  if (at !== chosen.threshold) return;
  const found = countAbove(stack, codeFrom(at, ...stack.range), joined);
  const cell = (page.size[0] * page.size[1]) / (stack.rows * stack.columns);
  const volume = page.pixel_volumes && found.cells.reduce((sum, cells, place) => sum + cells * cell * sizeOf(place), 0);
  byId("counts").textContent = `about ${countsInWords(found.slices, found.regions, volume)}`;
}

function showThreshold() {
  const value = chosen.threshold;
  byId("threshold").value = value;
  byId("threshold-value").textContent = formatScore(value);
  byId("threshold").setAttribute("aria-valuetext", `map at least ${formatScore(value)}`);
  byId("threshold-reset").disabled = value === page.thresholds.mask;
  clearTimeout(showThreshold.timer);
  showThreshold.timer = setTimeout(countAgain, COUNT_AFTER);
}

export function listenToThreshold() {
  if (!page.scales.map) return;
  const [low, high] = [Math.min(page.scales.map.low, page.thresholds.mask), page.scales.map.high];
  const step = (high - low) / 200;
  Object.assign(byId("threshold"), { min: low, max: high, step });
  byId("threshold").addEventListener("input", (event) => {
    const value = event.target.valueAsNumber;
    choose({ threshold: Math.abs(value - page.thresholds.mask) < step / 2 ? page.thresholds.mask : value });
  });
  byId("threshold-reset").addEventListener("click", () => choose({ threshold: page.thresholds.mask }));
  watch((names) => names.has("threshold") && showThreshold());
}
