// One image in large: picture, map and mask side by side, what is known of it, and what the reader says of it.

import { drawBar } from "./bar.js";
import { byId, listFacts } from "./dom.js";
import { paintThumbnail } from "./gallery_sheets.js";
import { page } from "./page_data.js";
import { drawOutline, paint, paintOverlay, resize } from "./paint.js";
import { GREYS } from "./pure/colours.js";
import { pathOf, tagsOf, UNREADABLE } from "./pure/gallery_model.js";
import { formatScore, inWords } from "./pure/words.js";

export class LargeView {
  // `gallery` has images, list, marks, sheets and store.
  constructor(gallery) {
    this.gallery = gallery;
    this.dialog = byId("large");
    this.image = null;
    this.overlay = "map";
    this.listen();
  }

  open(number) {
    this.image = this.gallery.images[number];
    if (!this.dialog.open) this.dialog.showModal();
    const place = this.place();
    byId("large-name").textContent = this.image.name;
    byId("rank").textContent =
      place < 0 ? "not in the list as it is filtered" : `${place + 1} of ${this.gallery.list.images.length}`;
    byId("previous").disabled = place <= 0;
    byId("next").disabled = place < 0 || place >= this.gallery.list.images.length - 1;
    byId("chosen").checked = this.gallery.marks.selected.has(number);
    byId("tags").value = (this.gallery.marks.tags.get(number) ?? []).join(" ");
    byId("note").value = this.gallery.marks.notes.get(number) ?? "";
    byId("original").textContent = pathOf(page.root, this.image);
    byId("original").href = page.root.single
      ? page.root.link
      : `${page.root.link}/${this.image.name.split("/").map(encodeURIComponent).join("/")}`;
    listFacts(byId("image-facts"), this.facts());
    this.draw();
  }

  place() {
    return this.gallery.list.images.indexOf(this.image);
  }

  // Go so many images further in the list as it is filtered and sorted.
  step(by) {
    const images = this.gallery.list.images;
    const target = Math.min(images.length - 1, Math.max(0, this.place() + by));
    if (images[target]) this.open(images[target].number);
  }

  facts() {
    const { image } = this;
    const known = page.decided ? [["Decision", inWords(image.decision)]] : [];
    return [
      ...(image.score === null ? [["Status", UNREADABLE]] : known),
      ...(image.score === null ? [] : [["Rank", `${image.number + 1} of ${page.scored}`]]),
      ...(image.score === null
        ? []
        : [["Score", `${formatScore(image.score)}${image.std === null ? "" : ` ± ${formatScore(image.std)}`}`]]),
      ...(image.p === null ? [] : [["p-value", formatScore(image.p)]]),
      ...(image.truth ? [["Ground truth", image.truth]] : []),
      ...(image.peak === null ? [] : [["Peak of the map", formatScore(image.peak)]]),
      ...(image.at ? [["Peak at x, y", `${image.at.join(", ")} px`]] : []),
      ...(image.area === null
        ? []
        : [
            [
              `Map ≥ ${formatScore(page.thresholds.mask)}${page.decided ? "" : " (arbitrary)"}`,
              `${(100 * image.area).toFixed(1)} %`,
            ],
          ]),
      ...(image.size[0] ? [["Size", `${image.size[0]} × ${image.size[1]} px`]] : []),
      ...(image.reason ? [["Reason", image.reason]] : []),
    ];
  }

  async draw() {
    const { image } = this;
    if (!image) return;
    const readable = image.score !== null;
    byId("absent").hidden = readable;
    byId("panes").hidden = !readable;
    byId("small").hidden = image.shown || !readable;
    byId("mask-pane").hidden = !image.shown;
    drawBar(byId("bar"), page.scales[this.overlay] ?? null, this.overlay === "map" ? page.thresholds.mask : null);
    if (readable) await (image.shown ? this.drawStored(image) : this.drawSmall(image));
    if (this.image === image) byId("stage").dataset.shown = `${image.number}/${this.overlay}/${byId("opacity").value}`;
  }

  async drawStored(image) {
    const record = await this.gallery.store.get(image.number);
    if (this.image !== image) return;
    this.shape(record);
    const canvas = byId("picture");
    resize(canvas, record.width, record.height);
    canvas.getContext("2d").drawImage(record.image, 0, 0);
    const scale = page.scales[this.overlay];
    paintOverlay(byId("overlay"), record[this.overlay], scale);
    byId("overlay").style.opacity = byId("opacity").value / 100;
    paintOverlay(byId("map"), record[this.overlay], scale);
    paintMask(byId("mask"), record.mask, record);
    drawOutline(byId("marks"), byId("outline").checked ? record.mask : null);
  }

  async drawSmall(image) {
    const sheet = await this.gallery.sheets.get(image);
    if (this.image !== image) return;
    const [width, height] = image.size;
    this.shape({ width, height });
    const canvas = byId("picture");
    if (sheet) paintThumbnail(canvas, image, sheet);
    else canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    for (const name of ["overlay", "map"]) {
      if (sheet && this.overlay === "map") paintOverlay(byId(name), sheet.mapOf(image, 256), page.scales.map);
      else byId(name).getContext("2d").clearRect(0, 0, byId(name).width, byId(name).height);
    }
    byId("overlay").style.opacity = byId("opacity").value / 100;
    drawOutline(byId("marks"), null);
  }

  shape({ width, height }) {
    byId("panes").style.setProperty("--shape", `${width} / ${height}`);
  }

  listen() {
    for (const choice of document.querySelectorAll("input[name=overlay]")) {
      choice.addEventListener("change", () => {
        this.overlay = choice.value;
        this.draw();
      });
    }
    byId("opacity").addEventListener("input", () => {
      byId("opacity-value").textContent = `${byId("opacity").value} %`;
      this.draw();
    });
    byId("outline").addEventListener("change", () => this.draw());
    byId("previous").addEventListener("click", () => this.step(-1));
    byId("next").addEventListener("click", () => this.step(1));
    byId("close").addEventListener("click", () => this.dialog.close());
    byId("chosen").addEventListener("change", () => this.gallery.select(this.image.number, byId("chosen").checked));
    byId("tags").addEventListener("change", () =>
      this.gallery.tag([this.image.number], tagsOf(byId("tags").value), true),
    );
    byId("note").addEventListener("input", () => this.gallery.marks.note(this.image.number, byId("note").value));
    this.dialog.addEventListener("keydown", (event) => this.onKey(event));
    this.dialog.addEventListener("close", () => this.onClose());
    new ResizeObserver(() => this.draw()).observe(byId("stage"));
  }

  onKey(event) {
    const steps = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -Infinity, End: Infinity };
    if (event.target.matches("input:not([type=checkbox]), textarea") || event.ctrlKey || event.altKey || event.metaKey)
      return;
    if (event.key in steps) this.step(steps[event.key]);
    else if (event.key === "s") byId("chosen").click();
    else if (event.key === "o") byId("outline").click();
    else return;
    event.preventDefault();
  }

  // Back to the tile that was open last.
  onClose() {
    const place = this.place();
    this.image = null;
    byId("stage").dataset.shown = "closed";
    this.gallery.list.focus(Math.max(0, place));
  }
}

// White on black, in the picture's size; black where nothing reaches the threshold.
function paintMask(canvas, mask, { width, height }) {
  if (mask) paint(canvas, mask, GREYS);
  else {
    resize(canvas, width, height);
    canvas.getContext("2d").fillRect(0, 0, width, height);
  }
}
