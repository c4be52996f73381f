// What lies under the cursor, or under the crosshair: value, map, and the place in the patient.

import { byId } from "./dom.js";
import { page } from "./page_data.js";
import { formatScore, readable } from "./pure/words.js";
import { drawn, mainPane } from "./series_pictures.js";
import { planes, stackOf } from "./series_planes.js";
import { chosen } from "./series_state.js";
import { distanceInWords, placeInWords } from "./series_words.js";

// A pixel of a smaller or larger picture of the slice.
function codeAt({ grey, width, height }, { row, column }) {
  const [rows, columns] = page.size;
  const y = Math.floor(((row + 0.5) * height) / rows);
  const x = Math.floor(((column + 0.5) * width) / columns);
  return grey[y * width + x];
}

// Code and map at a point: of the shown slice at its best, of others from the planes' stacks.
function valuesAt(point) {
  if (point.place === chosen.place && drawn.slice && drawn.row === page.rows[point.place]) {
    const { codes, width, height, map } = drawn.slice;
    const heat = map && map.low + ((map.high - map.low) * codeAt(map, point)) / 255;
    return [codeAt({ grey: codes, width, height }, point), heat];
  }
  const of = (stack) => {
    if (!stack.loaded[point.place]) return null;
    const size = stack.rows * stack.columns;
    const grey = stack.data.subarray(point.place * size, (point.place + 1) * size);
    return codeAt({ grey, width: stack.columns, height: stack.rows }, point);
  };
  const [code, heat] = [of(stackOf("picture")), page.scales.map && of(stackOf("map"))];
  const [low, high] = page.scales.map?.range ?? [0, 0];
  return [code, heat === null ? null : low + ((high - low) * heat) / 255];
}

function readPoint(point, name) {
  const row = page.rows[point.place];
  const [code, heat] = valuesAt(point);
  const parts = [
    `${name}: slice ${row.slice}`,
    code === null ? "" : `value ≈ ${readable(page.values[code])}${page.units ? ` ${page.units}` : ""}`,
    heat === null || row.decision === "blank" ? "" : `map ${formatScore(heat)}`,
    placeInWords(point),
    chosen.distance?.[0]?.place === point.place && !chosen.distance[1]
      ? `distance ${distanceInWords(chosen.distance[0], point)}`
      : "",
  ];
  byId("readout").textContent = parts.filter(Boolean).join(" · ");
}

// While the cursor is over a picture it is read there, else at the crosshair.
let cursor = null;

export function readAgain() {
  if (!page.rows.length) return;
  if (cursor) readPoint(cursor(), "Cursor");
  else readPoint({ place: chosen.place, row: chosen.row, column: chosen.column }, "Crosshair");
}

function follow(pane, pointAt) {
  pane.element.addEventListener("pointermove", (event) => {
    const { pixel } = pane.pointOf(event);
    cursor = pixel && event.pointerType === "mouse" ? () => pointAt(pixel) : null;
    readAgain();
  });
  pane.element.addEventListener("pointerleave", () => {
    cursor = null;
    readAgain();
  });
}

export function listenToCursor() {
  for (const pane of mainPane.partners) follow(pane, ([row, column]) => ({ place: chosen.place, row, column }));
  for (const view of planes) follow(view.pane, (pixel) => view.pointAt(pixel));
  // Keys move the crosshair: then it is what is read.
  document.addEventListener("keydown", () => {
    cursor = null;
  });
  // What the cursor is over changes with the slice, once that is drawn.
  new MutationObserver(readAgain).observe(byId("stage"), { attributeFilter: ["data-shown"] });
}
