// Slices one after the other by themselves, until something else is done.

import { byId } from "./dom.js";
import { page } from "./page_data.js";
import { choose, chosen, watch } from "./series_state.js";

let timer = null;
let expected = -1; // the place that the film itself has chosen

function pause() {
  clearInterval(timer);
  timer = null;
  byId("play").setAttribute("aria-pressed", "false");
  byId("play").textContent = "▶ Play";
}

function playNext() {
  expected = (chosen.place + 1) % page.rows.length;
  choose({ place: expected, region: null });
}

function play() {
  timer = setInterval(playNext, 1000 / Number(byId("speed").value));
  byId("play").setAttribute("aria-pressed", "true");
  byId("play").textContent = "⏸ Stop";
}

export function listenToCine() {
  byId("play").addEventListener("click", () => (timer === null ? play() : pause()));
  byId("speed").addEventListener("change", () => {
    if (timer === null) return;
    pause();
    play();
  });
  watch((names) => {
    if (timer !== null && names.has("place") && chosen.place !== expected) pause();
  });
}
