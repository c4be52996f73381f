// Window and level: numbers, presets, dragging on the picture.

import { byId } from "./dom.js";
import { readable } from "./pure/words.js";

export class WindowControl {
  // `change` is called with (width, level). `drag` is the element on which the mouse drags.
  constructor(initial, change, drag) {
    this.initial = initial;
    this.change = change;
    this.fields = { width: byId("width"), level: byId("level") };
    for (const field of Object.values(this.fields)) field.addEventListener("input", () => this.typed());
    byId("reset").addEventListener("click", () => this.reset());
    this.preset = byId("preset");
    this.preset?.addEventListener("change", () => {
      if (this.preset.value) this.set(...this.preset.value.split("/").map(Number));
    });
    this.listenToDrag(drag);
    this.reset();
  }

  reset() {
    this.set(this.initial.width > 0 ? this.initial.width : 1, this.initial.level);
  }

  set(width, level) {
    this.width = width;
    this.level = level;
    this.fields.width.value = readable(width);
    this.fields.level.value = readable(level);
    this.chosen();
  }

  typed() {
    const [width, level] = [this.fields.width.valueAsNumber, this.fields.level.valueAsNumber];
    this.fields.width.setCustomValidity(width > 0 ? "" : "a number above 0");
    if (!(width > 0) || Number.isNaN(level)) return;
    this.width = width;
    this.level = level;
    this.chosen();
  }

  chosen() {
    if (this.preset) {
      const options = [...this.preset.options].map((option) => option.value);
      const match = options.find((value) => {
        const [width, level] = value.split("/").map(Number);
        return value && width === this.width && level === this.level;
      });
      this.preset.value = match ?? "";
    }
    this.change(this.width, this.level);
  }

  // Across: width. Up and down: level. A stage's breadth doubles or more what is shown.
  listenToDrag(element) {
    let from = null;
    element.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "mouse" || event.button !== 0) return;
      from = { x: event.clientX, y: event.clientY, width: this.width, level: this.level };
      element.setPointerCapture(event.pointerId);
    });
    element.addEventListener("pointermove", (event) => {
      if (!from) return;
      const width = from.width * Math.exp((event.clientX - from.x) / 160);
      this.set(width, from.level + ((event.clientY - from.y) / 240) * from.width);
    });
    for (const kind of ["pointerup", "pointercancel"]) element.addEventListener(kind, () => (from = null));
  }
}
