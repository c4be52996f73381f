// A series that is shown beside another one: it tells where it is, and goes where the other one is.

import { byId } from "./dom.js";
import { page } from "./page_data.js";

const middles = page.rows.map((row) => row.position);

// Tell the page around this one which slice is shown, and where it lies.
function tellPlace() {
  const place = page.rows.findIndex((row) => String(row.slice) === (byId("stage").dataset.shown ?? "").split("/")[0]);
  if (place < 0) return;
  const normal =
    middles.length > 1 && middles[0] ? middles[0].map((value, axis) => middles.at(-1)[axis] - value) : null;
  window.parent.postMessage(
    { linked: "place", share: page.rows.length > 1 ? place / (page.rows.length - 1) : 0, at: middles[place], normal },
    "*",
  );
}

// The slice whose middle lies nearest along this series' normal; without positions the one at the same share.
function nearest({ at, share }) {
  const known =
    Array.isArray(at) && at.length === 3 && at.every(Number.isFinite) && middles.every(Boolean) && middles.length > 1;
  if (!known) return Math.round(Math.min(1, Math.max(0, Number(share) || 0)) * (middles.length - 1));
  const normal = middles[0].map((value, axis) => middles.at(-1)[axis] - value);
  const along = (place) => place.reduce((sum, value, axis) => sum + value * normal[axis], 0);
  const distances = middles.map((slot) => Math.abs(along(slot) - along(at)));
  return distances.indexOf(Math.min(...distances));
}

function followOther(event) {
  if (event.source !== window.parent || event.data?.linked !== "go") return;
  const slider = byId("slice");
  const place = nearest(event.data);
  if (Number(slider.value) === place) return;
  slider.value = place;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
}

if (window.parent !== window) {
  document.body.classList.add("embedded");
  window.addEventListener("message", followOther);
  new MutationObserver(tellPlace).observe(byId("stage"), { attributeFilter: ["data-shown"] });
  tellPlace();
}
