// Scores over slices, with threshold and uncertainty; a click or a key chooses a slice.

import { svgElement } from "./dom.js";
import { SHAPES } from "./pure/shapes.js";
import { MARGIN, markedRows, nearestPlace, runsOfSlices, stripScale } from "./pure/strip_scale.js";
import { formatScore, inWords } from "./pure/words.js";

export class Strip {
  // `rows` as in the page's data; `choose` is called with the place of a row; `word` says what a row is.
  constructor(svg, rows, threshold, uncertainty, choose, word = "slice") {
    Object.assign(this, { svg, rows, threshold, uncertainty, word });
    this.place = 0;
    svg.addEventListener("pointerdown", (event) => {
      choose(this.placeAt(event.clientX));
      svg.setPointerCapture(event.pointerId);
      this.held = true;
    });
    svg.addEventListener("pointermove", (event) => this.held && choose(this.placeAt(event.clientX)));
    for (const kind of ["pointerup", "pointercancel"]) {
      svg.addEventListener(kind, () => {
        this.held = false;
      });
    }
    new ResizeObserver(() => this.draw()).observe(svg);
  }

  placeAt(clientX) {
    return nearestPlace(this.rows, this.scale, clientX - this.svg.getBoundingClientRect().left);
  }

  draw() {
    if (!this.rows.length) return;
    this.width = this.svg.clientWidth || 600;
    this.height = this.svg.clientHeight || 150;
    this.scale = stripScale(this.rows, this.threshold, this.uncertainty, this);
    this.svg.classList.toggle("dense", this.scale.gap < 6);
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.cursor = svgElement("line", { class: "cursor", y1: MARGIN.top - 6, y2: this.height - MARGIN.bottom });
    const parts = [...this.axes(), ...runsOfSlices(this.rows).flatMap((run) => this.curve(run)), this.cursor];
    this.svg.replaceChildren(...parts, ...markedRows(this.rows, this.scale).map((row) => this.mark(row)));
    this.select(this.place);
  }

  curve(run) {
    const { x, y, spread } = this.scale;
    const points = (value) => run.map((row) => `${x(row.slice)},${y(value(row))}`);
    const upper = points((row) => row.score + spread(row));
    const lower = points((row) => row.score - spread(row)).reverse();
    const line = svgElement("polyline", { class: "scores", points: points((row) => row.score).join(" ") });
    if (!run.some((row) => row.std)) return [line];
    return [svgElement("polygon", { class: "band", points: [...upper, ...lower].join(" ") }), line];
  }

  // Numbers at the ends and at the threshold, unless they would touch.
  axes() {
    const { low, high, first, last, x, y } = this.scale;
    const right = this.width - MARGIN.right;
    const line = (name, at) => svgElement("line", { class: name, x1: MARGIN.left, x2: right, y1: at, y2: at });
    const number = (name, at, value) =>
      svgElement("text", { class: name, x: MARGIN.left - 6, y: at + 4, "text-anchor": "end" }, value.toFixed(2));
    const parts = [];
    const inSight = this.threshold !== null && this.threshold <= 1;
    for (const value of [low, high]) {
      parts.push(line("grid", y(value)));
      if (!inSight || Math.abs(y(value) - y(this.threshold)) > 13) parts.push(number("number", y(value), value));
    }
    for (const [slice, anchor] of [
      [first, "start"],
      [last, "end"],
    ]) {
      const text = { class: "number", x: x(slice), y: this.height - 5, "text-anchor": anchor };
      parts.push(svgElement("text", text, `${anchor === "start" ? `${this.word} ` : ""}${slice}`));
    }
    if (!inSight) return parts;
    const at = y(this.threshold);
    return [...parts, line("threshold", at), number("number here", at, this.threshold)];
  }

  // Shapes differ as well as colours. Where slices are many, normal ones are just the line.
  mark(row) {
    const { gap, x, y } = this.scale;
    const size = Math.min(5, Math.max(2.2, gap * 0.45));
    const dense = (row.decision === "normal" || row.decision === "undecided") && gap < 6;
    const at = row.decision === "blank" ? this.height - MARGIN.bottom - 5 : y(row.score);
    const held = row.flagged && row.decision === "uncertain" ? " flagged" : "";
    return svgElement("path", {
      class: `mark ${row.decision}${held}`,
      d: SHAPES[row.decision](dense ? 0.01 : size),
      transform: `translate(${x(row.slice)} ${at})`,
      "data-slice": row.slice,
    });
  }

  select(place) {
    this.place = place;
    const row = this.rows[place];
    if (!row || !this.cursor) return;
    for (const end of ["x1", "x2"]) this.cursor.setAttribute(end, this.scale.x(row.slice));
    this.svg.setAttribute("aria-valuenow", place);
    this.svg.setAttribute(
      "aria-valuetext",
      `${this.word} ${row.slice}, ${inWords(row.decision)}, score ${formatScore(row.score)}`,
    );
  }
}
