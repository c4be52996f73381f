// How many panes are shown and how large; full screen; what is hidden while a button is held.

import { byId } from "./dom.js";
import { page } from "./page_data.js";
import { mainPane } from "./series_pictures.js";
import { planes } from "./series_planes.js";
import { zoomBy } from "./series_pointer.js";
import { choose, chosen, watch } from "./series_state.js";

const ROOMY = 820; // width in which three planes are a help
const BELOW = 96; // what must be in sight below the picture: the readout and its slider

// The picture takes what is left of the window's height below its own top.
function measureRoom() {
  const views = byId("views");
  const top = views.getBoundingClientRect().top + window.scrollY;
  const full = document.fullscreenElement === byId("viewer");
  const largest = byId("stage").clientWidth / mainPane.shape; // beyond it the picture would not grow
  const room = full ? 0 : Math.max(360, Math.min(largest, window.innerHeight - top - BELOW));
  views.style.setProperty("--room", full ? "" : `${Math.round(room)}px`);
}

function showLayout() {
  byId("views").dataset.layout = chosen.layout;
  byId(`layout-${chosen.layout}`).checked = true;
  measureRoom();
}

async function toggleFullScreen() {
  if (document.fullscreenElement) await document.exitFullscreen();
  else await byId("viewer").requestFullscreen();
}

function listenToHolding() {
  const button = byId("hold");
  button.addEventListener("pointerdown", () => choose({ hidden: true }));
  for (const kind of ["pointerup", "pointercancel", "pointerleave"])
    button.addEventListener(kind, () => choose({ hidden: false }));
  button.addEventListener("keydown", (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    choose({ hidden: true });
  });
  button.addEventListener("keyup", () => choose({ hidden: false }));
  button.addEventListener("blur", () => choose({ hidden: false }));
  watch(() => button.setAttribute("aria-pressed", String(chosen.hidden)));
}

export function listenToLayout() {
  for (const choice of document.querySelectorAll("input[name=layout]")) {
    choice.addEventListener("change", () => choose({ layout: choice.value }));
  }
  for (const choice of document.querySelectorAll("input[name=tool]")) {
    choice.addEventListener("change", () => choose({ tool: choice.value, distance: null }));
  }
  byId("layout-three").disabled = !planes.length;
  byId("zoom-in").addEventListener("click", () => zoomBy(1));
  byId("zoom-out").addEventListener("click", () => zoomBy(-1));
  byId("zoom-fit").addEventListener("click", () => mainPane.whole());
  byId("full-screen").hidden = !document.fullscreenEnabled;
  byId("full-screen").addEventListener("click", toggleFullScreen);
  document.addEventListener("fullscreenchange", () => {
    byId("full-screen").setAttribute("aria-pressed", String(Boolean(document.fullscreenElement)));
    measureRoom();
  });
  listenToHolding();
  if (page.frame) mainPane.orient(page.frame.column, page.frame.row);
  watch((names) => names.has("layout") && showLayout());
  window.addEventListener("resize", measureRoom);
  measureRoom();
  const roomy = byId("views").clientWidth >= ROOMY && window.parent === window;
  choose({ layout: planes.length && roomy ? "three" : "one" });
  showLayout();
}
