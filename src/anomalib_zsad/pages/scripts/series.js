// The page of one series: its parts, put together.

import { byId } from "./dom.js";
import { page } from "./page_data.js";
import { windowTable } from "./pure/colours.js";
import { readable } from "./pure/words.js";
import { listenToCine } from "./series_cine.js";
import { listenToKeys } from "./series_keys.js";
import { listenToLayout } from "./series_layout.js";
import { listenToPanel } from "./series_panel.js";
import { listenToPointers } from "./series_pointer.js";
import { listenToCursor, readAgain } from "./series_readout.js";
import { choose, chosen, watch } from "./series_state.js";
import { listenToThreshold } from "./series_threshold.js";
import { begin, go, placeOf } from "./series_walk.js";
import { Strip } from "./strip.js";
import { WindowControl } from "./window.js";

const strip = new Strip(byId("strip"), page.rows, page.thresholds.slice, page.uncertainty, go);
const windowing = new WindowControl(page.window, (width, level) => {
  byId("corner-window").textContent = `W ${readable(width)} L ${readable(level)} ${page.units}`;
  choose({ table: windowTable(page.values, width, level) });
});

function listenToSlices() {
  byId("slice").addEventListener("input", (event) => go(Number(event.target.value)));
  byId("previous").addEventListener("click", () => go(chosen.place - 1));
  byId("next").addEventListener("click", () => go(chosen.place + 1));
  byId("slice-number").addEventListener("change", (event) => {
    const place = placeOf(event.target.valueAsNumber);
    go(place < 0 ? chosen.place : place);
    event.target.value = page.rows[chosen.place].slice;
  });
  watch((names) => names.has("place") && strip.select(chosen.place));
  watch(readAgain);
}

function start() {
  listenToPanel();
  listenToThreshold();
  listenToSlices();
  listenToPointers(windowing);
  listenToCursor();
  listenToKeys();
  listenToCine();
  listenToLayout();
  begin();
}

start();
