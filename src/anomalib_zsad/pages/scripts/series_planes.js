// The two planes across the shown slices, cut from the slices that are in the page, linked by a crosshair.

import { greyOf } from "./decode.js";
import { byId, oncePerFrame } from "./dom.js";
import { page } from "./page_data.js";
import { paint, paintOverlay, strokeOutline } from "./paint.js";
import { Pane } from "./pane.js";
import { GREYS } from "./pure/colours.js";
import { clamp } from "./pure/numbers.js";
import { crossPlanes, fromPlane, inPlane } from "./pure/planes.js";
import { cutPlane, nearestLoaded } from "./pure/reformat.js";
import { slotsOf } from "./pure/slots.js";
import { codeFrom } from "./pure/threshold_counts.js";
import { drawPlaneLines } from "./series_marks.js";
import { storedSlice } from "./series_pictures.js";
import { Stack } from "./series_stack.js";
import { choose, chosen, watch } from "./series_state.js";

const SMOOTH = 4; // how much maps are enlarged before they get their colours

const slices = page.rows.map(({ slice, position }) => ({ number: slice, position }));
export const slots = page.frame && slotsOf(slices, page.frame);

const stacks = new Map();

// All slices of a kind: pictures, maps or deviations.
export function stackOf(kind) {
  if (!stacks.has(kind)) {
    const range = kind === "picture" ? null : page.scales[kind].range;
    const read = (place) => storedSlice(page.rows[place].slice);
    stacks.set(kind, new Stack(read, page.rows.length, page.size, kind, range));
  }
  return stacks.get(kind);
}

class PlaneView {
  constructor(element, plane) {
    this.plane = plane;
    const [high, wide] = page.spacing;
    const steps = { row: high, column: wide, slice: slots.step };
    this.size = { row: page.size[0], column: page.size[1], slice: slots.count };
    const size = [this.size[plane.down], this.size[plane.right]];
    this.pane = new Pane(element, { size, spacing: [steps[plane.down], steps[plane.right]] }, (context) =>
      this.drawMarks(context),
    );
    this.pane.orient(plane.rightward, plane.downward);
    element.hidden = false;
    element.setAttribute("aria-label", `${plane.name} plane`);
  }

  get point() {
    return { slice: slots.slotOf[chosen.place], row: chosen.row, column: chosen.column };
  }

  // The page's point for a place in this plane's picture; where a slice is missing, of the nearest one.
  pointAt(pixel) {
    const { slice, row, column } = fromPlane(this.plane, pixel, this.point, this.size);
    const distances = slots.slotOf.map((slot) => Math.abs(slot - slice));
    return { place: distances.indexOf(Math.min(...distances)), row, column };
  }

  // One step along the plane's normal.
  step(by) {
    const { fixed } = this.plane;
    choose({ [fixed]: clamp(chosen[fixed] + by, 0, this.size[fixed] - 1), region: null });
  }

  draw() {
    if (!this.pane.shown) return;
    const pictures = stackOf("picture");
    paint(this.pane.picture, this.cut(pictures), chosen.table);
    const scale = page.scales[chosen.overlay];
    const maps = scale && stackOf(chosen.overlay);
    this.map = maps && this.enlarged(this.cut(maps), maps.range);
    paintOverlay(this.pane.overlay, this.map, scale);
    this.pane.overlay.style.opacity = chosen.hidden ? 0 : chosen.opacity;
    const { plane } = this;
    const at = `${plane.fixed} ${chosen[plane.fixed]}`;
    this.pane.element.querySelector(".where").textContent = `${plane.name} · ${at}`;
    this.pane.redrawMarks();
    const sharp = pictures.whole && (!maps || maps.whole) ? "whole" : "loading";
    this.pane.element.dataset.shown = `${at}/${sharp}`;
  }

  cut(stack) {
    const { fixed } = this.plane;
    const at = Math.floor(((chosen[fixed] + 0.5) * stack[`${fixed}s`]) / this.size[fixed]);
    const sliceOf = stack.whole ? slots.sliceOf : nearestLoaded(slots.sliceOf, stack.loaded);
    return cutPlane(stack, sliceOf, this.plane, at);
  }

  enlarged(small, [low, high]) {
    const canvas = new OffscreenCanvas(1, 1);
    paint(canvas, small, GREYS);
    return { ...greyOf(canvas, small.width * SMOOTH, small.height * SMOOTH), low, high };
  }

  drawMarks(context) {
    if (chosen.hidden) return;
    if (this.map && chosen.outline && chosen.overlay === "map") {
      const from = codeFrom(chosen.threshold, this.map.low, this.map.high);
      strokeOutline(context, this.map, this.pane.box, from);
    }
    drawPlaneLines(context, this.pane, inPlane(this.plane, this.point, this.size));
  }
}

export const planes = slots
  ? crossPlanes(page.frame).map((plane, number) => new PlaneView(byId(`cross-${number}`), plane))
  : [];

const drawPlanesSoon = oncePerFrame(() => {
  for (const view of planes) view.draw();
});

// Slices are decoded once they are asked for.
function onPlanesChange() {
  if (!planes.length || chosen.layout !== "three") return;
  stackOf("picture").load(drawPlanesSoon);
  if (page.scales[chosen.overlay]) stackOf(chosen.overlay).load(drawPlanesSoon);
  drawPlanesSoon();
}

watch(onPlanesChange);
