// Window and level: numbers, presets, dragging.

import { byId } from "./dom.js";
import { readable } from "./pure/words.js";

export class WindowControl {
  // `change` is called with (width, level).
  constructor(initial, change) {
    this.initial = initial;
    this.change = change;
    this.fields = { width: byId("width"), level: byId("level") };
    for (const field of Object.values(this.fields)) field.addEventListener("input", () => this.typed());
    byId("reset").addEventListener("click", () => this.reset());
    this.preset = byId("preset");
    this.preset?.addEventListener("change", () => {
      if (this.preset.value) this.set(...this.preset.value.split("/").map(Number));
    });
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

  // Across: width. Up and down: level. A picture's breadth doubles or more what is shown.
  startDrag() {
    const from = { width: this.width, level: this.level };
    return (dx, dy) => this.set(from.width * Math.exp(dx / 160), from.level + (dy / 240) * from.width);
  }
}
