// A pane: a picture with its overlay and its marks, fitted into the room there is, enlarged and moved.

import { make, svgElement } from "./dom.js";
import { resize } from "./paint.js";
import { axesOf, edgesOf, orientationInWords, seenFrom, viewInWords } from "./pure/planes.js";
import { boxOf, broughtIn, fitted, moved, rulerLength, WHOLE, zoomedAt } from "./pure/view_box.js";

const INSET = 8; // of letters from the picture's edge
const MARK = 20; // radius of the mark of orientation

export class Pane {
  // `size` is the picture's rows and columns, `spacing` their distances in mm (null where unknown). `drawMarks` is given
  // a context with the screen's own pixels, the pane, and how many of them a unit of length has.
  constructor(element, { size, spacing }, drawMarks) {
    Object.assign(this, { element, size, spacing, drawMarks, view: WHOLE, partners: [this] });
    for (const name of ["frame", "picture", "overlay", "marks", "ruler"])
      this[name] = element.querySelector(`.${name}`);
    this.room = { width: 1, height: 1 };
    this.fit = this.room;
    this.box = boxOf(this.view, this.room, this.fit);
    new ResizeObserver(() => this.measure()).observe(element);
  }

  // Panes that are enlarged and moved together.
  linkTo(other) {
    this.partners = other.partners = [this, other];
  }

  get shown() {
    return this.element.clientWidth > 0;
  }

  // Width over height, in mm where that is known.
  get shape() {
    const [rows, columns] = this.size;
    const [high, wide] = this.spacing ?? [1, 1];
    return (columns * wide) / (rows * high);
  }

  measure() {
    if (!this.shown) return;
    this.room = { width: this.element.clientWidth, height: this.element.clientHeight };
    this.fit = fitted(this.shape, this.room);
    this.show(zoomedAt(this.view, 1, { x: 0, y: 0 }, this.room, this.fit));
  }

  // True proportions: the frame is where the picture is.
  show(view) {
    this.view = view;
    this.box = boxOf(view, this.room, this.fit);
    for (const side of ["left", "top", "width", "height"]) this.frame.style[side] = `${this.box[side]}px`;
    this.element.dataset.zoom = view.zoom.toFixed(2);
    this.element.classList.toggle("enlarged", view.zoom > 1);
    this.placeLetters();
    this.measureRuler();
    this.redrawMarks();
  }

  // The same view in this pane and those linked to it, which are of the same size.
  change(view) {
    for (const pane of this.partners) if (pane.shown) pane.show(view);
  }

  zoomAt(factor, point = { x: this.room.width / 2, y: this.room.height / 2 }) {
    this.change(zoomedAt(this.view, factor, point, this.room, this.fit));
  }

  moveBy(dx, dy) {
    this.change(moved(this.view, dx, dy, this.room, this.fit));
  }

  whole() {
    this.change(WHOLE);
  }

  bringIn([row, column]) {
    const share = { across: (column + 0.5) / this.size[1], down: (row + 0.5) / this.size[0] };
    if (this.view.zoom > 1) this.change(broughtIn(this.view, share, this.room, this.fit));
  }

  // Where an event is: in the pane, and the row and column there (null outside the picture).
  pointOf(event) {
    const outer = this.element.getBoundingClientRect();
    const point = { x: event.clientX - outer.left, y: event.clientY - outer.top };
    const [rows, columns] = this.size;
    const row = Math.floor(((point.y - this.box.top) / this.box.height) * rows);
    const column = Math.floor(((point.x - this.box.left) / this.box.width) * columns);
    const inside = row >= 0 && row < rows && column >= 0 && column < columns;
    return { ...point, pixel: inside ? [row, column] : null };
  }

  // Middle of a pixel in the pane.
  screenOf([row, column]) {
    const [rows, columns] = this.size;
    return {
      x: this.box.left + ((column + 0.5) / columns) * this.box.width,
      y: this.box.top + ((row + 0.5) / rows) * this.box.height,
    };
  }

  redrawMarks() {
    if (!this.shown) return;
    const ratio = window.devicePixelRatio || 1;
    resize(this.marks, Math.round(this.room.width * ratio), Math.round(this.room.height * ratio));
    const context = this.marks.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.marks.width, this.marks.height);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.drawMarks(context, this);
  }

  // Letters at the picture's edges, a mark of the patient's axes, and what they mean in words.
  orient(right, down) {
    const edges = edgesOf(right, down);
    for (const [edge, letter] of Object.entries(edges)) this.edge(edge).textContent = letter;
    const words = this.element.querySelector(".words");
    words.textContent = orientationInWords(right, down);
    words.title = viewInWords(right, down);
    const mark = svgElement("svg", { class: "compass", viewBox: "-32 -32 64 64", "aria-hidden": "true" });
    for (const { letter, x, y } of axesOf(right, down)) {
      const solid = letter === edges.left || letter === edges.top ? "main" : "";
      mark.append(svgElement("line", { class: solid, x2: MARK * x, y2: MARK * y }));
      mark.append(svgElement("text", { class: solid, x: (MARK + 7) * x, y: (MARK + 7) * y + 3.5 }, letter));
    }
    mark.append(svgElement("circle", { r: 6.5 }), svgElement("text", { y: 3.5 }, seenFrom(right, down)));
    this.element.append(mark);
    this.placeLetters();
  }

  edge(name) {
    this.edges ??= {};
    this.edges[name] ??= this.element.querySelector(`.edge.${name}`);
    return this.edges[name];
  }

  placeLetters() {
    const { left, top, width, height } = this.box;
    const across = Math.min(this.room.width - 20, Math.max(20, left + width / 2));
    const middle = Math.min(this.room.height - 20, Math.max(20, top + height / 2));
    const put = (name, x, y) => {
      this.edge(name).style.left = `${x}px`;
      this.edge(name).style.top = `${y}px`;
    };
    put("left", Math.max(0, left) + INSET, middle);
    put("right", Math.min(this.room.width, left + width) - INSET, middle);
    put("top", across, Math.max(0, top) + INSET);
    put("bottom", across, Math.min(this.room.height, top + height) - INSET);
  }

  measureRuler() {
    this.ruler.hidden = !this.spacing;
    if (!this.spacing) return;
    const millimetre = this.box.width / (this.size[1] * this.spacing[1]);
    const length = rulerLength(millimetre, this.room.width / 4);
    const label = length >= 10 ? `${length / 10} cm` : `${length} mm`;
    const line = make("i");
    line.style.width = `${length * millimetre}px`;
    this.ruler.replaceChildren(line, make("span", "", label));
  }
}
