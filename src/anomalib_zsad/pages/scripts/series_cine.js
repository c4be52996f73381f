// Slices one after the other by themselves, until something else is done.

import { byId } from "./dom.js";
import { page } from "./page_data.js";
import { choose, chosen, watch } from "./series_state.js";

let timer = null;
let expected = -1; // the place that the film itself has chosen

function playNext() {
  expected = (chosen.place + 1) % page.rows.length;
  choose({ place: expected, region: null });
}

function showPlaying() {
  clearInterval(timer);
  if (chosen.playing) timer = setInterval(playNext, 1000 / Number(byId("speed").value));
  byId("play").setAttribute("aria-pressed", String(chosen.playing));
  byId("play").textContent = chosen.playing ? "⏸ Stop" : "▶ Play";
}

export function listenToCine() {
  byId("play").addEventListener("click", () => choose({ playing: !chosen.playing }));
  byId("speed").addEventListener("change", showPlaying);
  watch((names) => {
    if (names.has("playing")) showPlaying();
    else if (chosen.playing && names.has("place") && chosen.place !== expected) choose({ playing: false });
  });
}
