// Mouse and fingers on the panes: dragging by the tool in use, clicks, wheels, pinches.

import { page } from "./page_data.js";
import { clamp } from "./pure/numbers.js";
import { mainPane, plainPane } from "./series_pictures.js";
import { planes } from "./series_planes.js";
import { choose, chosen } from "./series_state.js";
import { go } from "./series_walk.js";

const CLICK_REACH = 4; // pixels that a click may move
const ZOOM_STEP = 1.25;

// The crosshair to a pixel of the shown slice.
function aim([row, column]) {
  choose({ row, column, region: null });
}

// Each drag is a function of how far the pointer went; it is given the event, too.
function dragOf(pane, event, windowing) {
  const shifted = event.shiftKey || event.button === 1 || event.button === 2;
  if (chosen.tool === "move" || shifted) return moving(pane);
  const slices = pane === mainPane || pane === plainPane;
  if (chosen.tool === "distance" && slices) return measuring(pane, event);
  return windowing.startDrag();
}

function moving(pane) {
  let last = [0, 0];
  return (dx, dy) => {
    pane.moveBy(dx - last[0], dy - last[1]);
    last = [dx, dy];
  };
}

function measuring(pane, event) {
  const { pixel } = pane.pointOf(event);
  if (!pixel) return () => {};
  const first = { place: chosen.place, row: pixel[0], column: pixel[1] };
  return (_dx, _dy, moved) => {
    const end = pane.pointOf(moved).pixel;
    if (end) choose({ distance: [first, { place: first.place, row: end[0], column: end[1] }] });
  };
}

// A mouse: a drag, or a click where it hardly moves.
function listenToMouse(pane, windowing, onClick) {
  let held = null;
  pane.element.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse") return;
    if (event.button === 1) event.preventDefault();
    held = { x: event.clientX, y: event.clientY, drag: dragOf(pane, event, windowing), moved: false };
    pane.element.setPointerCapture(event.pointerId);
  });
  pane.element.addEventListener("pointermove", (event) => {
    if (!held || event.pointerType !== "mouse") return;
    const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
    held.moved ||= Math.hypot(dx, dy) > CLICK_REACH;
    if (held.moved) held.drag(dx, dy, event);
  });
  pane.element.addEventListener("pointerup", (event) => {
    const { pixel } = pane.pointOf(event);
    if (held && !held.moved && event.button === 0 && pixel) onClick(pixel);
    held = null;
  });
  pane.element.addEventListener("pointercancel", () => {
    held = null;
  });
  pane.element.addEventListener("contextmenu", (event) => event.preventDefault());
}

// Fingers: two enlarge and move; one goes through the slices, or moves what is enlarged; a tap aims.
function listenToTouch(pane, onClick, step) {
  const fingers = new Map();
  let start = null;
  const middle = () => {
    const [a, b] = [...fingers.values()];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, apart: Math.hypot(a.x - b.x, a.y - b.y) };
  };
  const begin = () => {
    const [first] = fingers.values();
    start = first && { ...first, step: step.start(), last: fingers.size > 1 ? middle() : first, moved: false };
  };
  pane.element.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse") return;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    pane.element.setPointerCapture(event.pointerId);
    begin();
  });
  pane.element.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId) || !start) return;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (fingers.size > 1) pinch();
    else drag(event);
  });
  const pinch = () => {
    const now = middle();
    const box = pane.element.getBoundingClientRect();
    const about = { x: start.last.x - box.left, y: start.last.y - box.top };
    if (start.last.apart > 0) pane.zoomAt(now.apart / start.last.apart, about);
    pane.moveBy(now.x - start.last.x, now.y - start.last.y);
    start.last = now;
    start.moved = true;
  };
  const drag = (event) => {
    start.moved ||= Math.hypot(event.clientX - start.x, event.clientY - start.y) > 2 * CLICK_REACH;
    if (!start.moved) return;
    if (pane.view.zoom > 1) pane.moveBy(event.clientX - start.last.x, event.clientY - start.last.y);
    else step.to(start.step, (event.clientX - start.x) / pane.element.clientWidth);
    start.last = { x: event.clientX, y: event.clientY };
  };
  for (const kind of ["pointerup", "pointercancel"]) {
    pane.element.addEventListener(kind, (event) => {
      if (!fingers.delete(event.pointerId)) return;
      const { pixel } = pane.pointOf(event);
      if (kind === "pointerup" && start && !start.moved && pixel) onClick(pixel);
      const moved = start?.moved;
      begin();
      if (start) start.moved = moved;
    });
  }
}

// Wheels give many small steps or few large ones; either way a notch is a slice. With control they enlarge.
function listenToWheel(pane, step) {
  let turned = 0;
  pane.element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const delta = event.deltaMode === 0 ? event.deltaY : event.deltaY * 30;
      if (event.ctrlKey) {
        pane.zoomAt(ZOOM_STEP ** clamp(-delta / 50, -2, 2), pane.pointOf(event));
        return;
      }
      turned += delta;
      const steps = Math.trunc(turned / 30);
      if (!steps) return;
      turned = Math.abs(steps) > 1 ? 0 : turned - steps * 30;
      step(Math.sign(steps));
    },
    { passive: false },
  );
}

export function zoomBy(direction) {
  mainPane.zoomAt(ZOOM_STEP ** direction);
}

export function listenToPointers(windowing) {
  const throughSlices = {
    start: () => chosen.place,
    to: (from, share) => go(from + Math.round(share * Math.min(page.rows.length, 60))),
  };
  for (const pane of [mainPane, plainPane]) {
    listenToMouse(pane, windowing, aim);
    listenToTouch(pane, aim, throughSlices);
    listenToWheel(pane, (by) => go(chosen.place + by));
  }
  for (const view of planes) {
    const click = (pixel) => choose({ ...view.pointAt(pixel), region: null });
    const across = {
      start: () => chosen[view.plane.fixed],
      to: (from, share) => view.step(Math.round(from + share * view.size[view.plane.fixed]) - chosen[view.plane.fixed]),
    };
    listenToMouse(view.pane, windowing, click);
    listenToTouch(view.pane, click, across);
    listenToWheel(view.pane, (by) => view.step(by));
  }
}
