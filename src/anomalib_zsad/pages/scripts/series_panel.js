// The column beside the picture: the slice's facts, the overlay, the list of regions.

import { drawBar } from "./bar.js";
import { byId, listFacts } from "./dom.js";
import { page } from "./page_data.js";
import { regionColour } from "./pure/region_colours.js";
import { formatScore, inWords, positionInWords } from "./pure/words.js";
import { choose, chosen, watch } from "./series_state.js";
import { bringIntoSight, go, goToRegion, inSight } from "./series_walk.js";

function factsOf(row) {
  const ranked = page.rows.filter((other) => other.rank !== null).length;
  const decision = inWords(row.decision) + (row.flagged && row.decision !== "abnormal" ? " (flagged)" : "");
  return [
    ...(page.decided === "nothing" ? [] : [["Decision", decision]]),
    ["Rank by score", row.rank === null ? "blank, not scored" : `${row.rank} of ${ranked}`],
    ["Score", formatScore(row.score) + (row.std === null ? "" : ` ± ${formatScore(row.std)}`)],
    ...(row.p === null ? [] : [["p-value", formatScore(row.p)]]),
    ["Peak of the map", formatScore(row.peak)],
    ...(row.area === null
      ? []
      : [[`Area at map ≥ ${formatScore(page.thresholds.mask)}`, `${Math.round(row.area).toLocaleString("en")} mm²`]]),
    ...(row.position ? [["Middle", `${positionInWords(row.position)} mm`]] : []),
    ...(row.instance ? [["SOP instance UID", row.instance + (row.frame ? `, frame ${row.frame}` : "")]] : []),
  ];
}

function showRegions() {
  const { slice } = page.rows[chosen.place];
  for (const button of document.querySelectorAll("[data-region]")) {
    const region = page.regions.find(({ number }) => number === Number(button.dataset.region));
    const row = button.closest("tr");
    row.classList.toggle("here", region.number === chosen.region);
    row.classList.toggle("on-slice", region.slice === slice);
    row.classList.toggle("below", region.peak < chosen.threshold);
  }
}

function showOverlay() {
  const name = chosen.overlay;
  document.querySelector(`input[name=overlay][value=${name}]`).checked = true;
  byId("opacity").value = Math.round(100 * chosen.opacity);
  byId("opacity-value").textContent = `${byId("opacity").value} %`;
  byId("outline").checked = chosen.outline;
  drawBar(byId("bar"), page.scales[name] ?? null, name === "map" ? chosen.threshold : null);
}

function onPanelChange(names) {
  if (!page.rows.length) return;
  if (names.has("place")) listFacts(byId("slice-facts"), factsOf(page.rows[chosen.place]));
  if (["place", "region", "threshold"].some((name) => names.has(name))) showRegions();
  if (chosen.overlay !== "none") chosen.last = chosen.overlay;
  if (["overlay", "opacity", "outline", "threshold"].some((name) => names.has(name))) showOverlay();
}

// A long table shows its first rows until all are asked for.
function fold(button, table) {
  if (table.tBodies[0].rows.length <= 8) return;
  button.hidden = false;
  table.classList.add("folded");
  button.addEventListener("click", () => {
    table.classList.remove("folded");
    button.hidden = true;
  });
}

export function listenToPanel() {
  for (const choice of document.querySelectorAll("input[name=overlay]")) {
    choice.addEventListener("change", () => choose({ overlay: choice.value }));
  }
  byId("opacity").addEventListener("input", (event) => choose({ opacity: Number(event.target.value) / 100 }));
  byId("outline").addEventListener("change", (event) => choose({ outline: event.target.checked }));
  for (const button of document.querySelectorAll("[data-region]")) {
    button.style.setProperty("--region", regionColour(Number(button.dataset.region)));
    button.addEventListener("click", () => goToRegion(Number(button.dataset.region)));
  }
  for (const button of document.querySelectorAll("[data-row]")) {
    button.addEventListener("click", () => {
      go(Number(button.dataset.row));
      if (!inSight()) bringIntoSight();
    });
  }
  for (const button of document.querySelectorAll("[data-unfold]")) fold(button, byId(button.dataset.unfold));
  watch(onPanelChange);
  showOverlay();
}
