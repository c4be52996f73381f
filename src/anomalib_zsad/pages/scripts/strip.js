// Scores over slices, with threshold and uncertainty; a click or a key chooses a slice.

import { svgElement } from "./dom.js";
import { ends } from "./pure/numbers.js";
import { SHAPES } from "./pure/shapes.js";
import { formatScore, inWords } from "./pure/words.js";

const MARGIN = { left: 44, right: 12, top: 12, bottom: 20 };

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
    for (const kind of ["pointerup", "pointercancel"]) svg.addEventListener(kind, () => (this.held = false));
    new ResizeObserver(() => this.draw()).observe(svg);
  }

  spread(row) {
    return (row.std ?? 0) * this.uncertainty;
  }

  // Range of the scores shown: all of them with their band, and the threshold, with room around.
  range() {
    const scored = this.rows.filter((row) => row.decision !== "blank");
    const values = scored.flatMap((row) => [row.score - this.spread(row), row.score + this.spread(row)]);
    if (this.threshold !== null) values.push(Math.min(1, this.threshold));
    if (!values.length) return [0, 1];
    const [low, high] = ends(values);
    const room = Math.max(0.02, 0.08 * (high - low));
    return [Math.max(0, low - room), Math.min(1, high + room)];
  }

  measure() {
    this.width = this.svg.clientWidth || 600;
    this.height = this.svg.clientHeight || 150;
    [this.first, this.last] = ends(this.rows.map((row) => row.slice));
    [this.low, this.high] = this.range();
  }

  x(slice) {
    const share = this.last > this.first ? (slice - this.first) / (this.last - this.first) : 0.5;
    return MARGIN.left + 8 + share * (this.width - MARGIN.left - MARGIN.right - 16);
  }

  y(score) {
    const share = (Math.min(this.high, Math.max(this.low, score)) - this.low) / (this.high - this.low);
    return this.height - MARGIN.bottom - share * (this.height - MARGIN.top - MARGIN.bottom);
  }

  placeAt(clientX) {
    const x = clientX - this.svg.getBoundingClientRect().left;
    const distances = this.rows.map((row) => Math.abs(this.x(row.slice) - x));
    return distances.indexOf(Math.min(...distances));
  }

  draw() {
    if (!this.rows.length) return;
    this.measure();
    this.gap = (this.width - MARGIN.left - MARGIN.right) / this.rows.length;
    this.svg.classList.toggle("dense", this.gap < 6);
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.cursor = svgElement("line", { class: "cursor", y1: MARGIN.top - 6, y2: this.height - MARGIN.bottom });
    const parts = [...this.axes(), ...this.runs().flatMap((run) => this.curve(run)), this.cursor];
    this.svg.replaceChildren(...parts, ...this.marked().map((row) => this.mark(row)));
    this.select(this.place);
  }

  // Neighbouring scored slices; a blank slice or an empty place parts them.
  runs() {
    const runs = [];
    this.rows.forEach((row, place) => {
      if (row.decision === "blank") return;
      const before = this.rows[place - 1];
      if (before && before.decision !== "blank" && before.slice === row.slice - 1) runs.at(-1).push(row);
      else runs.push([row]);
    });
    return runs;
  }

  curve(run) {
    const points = (value) => run.map((row) => `${this.x(row.slice)},${this.y(value(row))}`);
    const upper = points((row) => row.score + this.spread(row));
    const lower = points((row) => row.score - this.spread(row)).reverse();
    const parts = [svgElement("polyline", { class: "scores", points: points((row) => row.score).join(" ") })];
    if (run.some((row) => row.std))
      parts.unshift(svgElement("polygon", { class: "band", points: [...upper, ...lower].join(" ") }));
    return parts;
  }

  // Numbers at the ends and at the threshold, unless they would touch.
  axes() {
    const right = this.width - MARGIN.right;
    const line = (name, y) => svgElement("line", { class: name, x1: MARGIN.left, x2: right, y1: y, y2: y });
    const number = (name, y, value) =>
      svgElement("text", { class: name, x: MARGIN.left - 6, y: y + 4, "text-anchor": "end" }, value.toFixed(2));
    const parts = [];
    const inSight = this.threshold !== null && this.threshold <= 1;
    for (const value of [this.low, this.high]) {
      const y = this.y(value);
      parts.push(line("grid", y));
      if (!inSight || Math.abs(y - this.y(this.threshold)) > 13) parts.push(number("number", y, value));
    }
    for (const [slice, anchor] of [
      [this.first, "start"],
      [this.last, "end"],
    ]) {
      const text = { class: "number", x: this.x(slice), y: this.height - 5, "text-anchor": anchor };
      parts.push(svgElement("text", text, `${anchor === "start" ? `${this.word} ` : ""}${slice}`));
    }
    if (!inSight) return parts;
    const y = this.y(this.threshold);
    return [...parts, line("threshold", y), number("number here", y, this.threshold)];
  }

  // Rows with a mark of their own: where there are very many, one of each kind for each column of pixels.
  marked() {
    if (this.gap >= 1) return this.rows;
    const columns = new Map(
      this.rows.map((row) => [`${row.decision}/${row.flagged}/${Math.round(this.x(row.slice))}`, row]),
    );
    return [...columns.values()];
  }

  // Shapes differ as well as colours. Where slices are many, normal ones are just the line.
  mark(row) {
    const size = Math.min(5, Math.max(2.2, this.gap * 0.45));
    const dense = (row.decision === "normal" || row.decision === "undecided") && this.gap < 6;
    const y = row.decision === "blank" ? this.height - MARGIN.bottom - 5 : this.y(row.score);
    const shape = SHAPES[row.decision](dense ? 0.01 : size);
    const held = row.flagged && row.decision === "uncertain" ? " flagged" : "";
    return svgElement("path", {
      class: `mark ${row.decision}${held}`,
      d: shape,
      transform: `translate(${this.x(row.slice)} ${y})`,
      "data-slice": row.slice,
    });
  }

  select(place) {
    this.place = place;
    const row = this.rows[place];
    if (!row || !this.cursor) return;
    for (const end of ["x1", "x2"]) this.cursor.setAttribute(end, this.x(row.slice));
    this.svg.setAttribute("aria-valuenow", place);
    this.svg.setAttribute(
      "aria-valuetext",
      `${this.word} ${row.slice}, ${inWords(row.decision)}, score ${formatScore(row.score)}`,
    );
  }
}
