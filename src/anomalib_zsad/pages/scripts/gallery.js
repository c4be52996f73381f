// The page of an inspected folder: histogram, filters, a list of all images, and one of them in large.

import { decodeRecord, Store } from "./decode.js";
import { byId, make, svgElement } from "./dom.js";
import { LargeView } from "./gallery_large.js";
import { VirtualList } from "./gallery_list.js";
import { Marks, offerFile } from "./gallery_marks.js";
import { paintThumbnail, Sheets, storedBlock } from "./gallery_sheets.js";
import { page } from "./page_data.js";
import { paintOverlay } from "./paint.js";
import {
  chooseImages,
  countBy,
  csvOf,
  foldersOf,
  histogramOf,
  imagesOf,
  outcomeOf,
  pathOf,
  scoreRange,
  sideOf,
  tagsOf,
  UNREADABLE,
} from "./pure/gallery_model.js";
import { SHAPES } from "./pure/shapes.js";
import { formatScore, inWords } from "./pure/words.js";

const BINS = 60;
const PRINTED = 60; // tiles of a printed contact sheet

// Where nothing is decided, exploring starts at the value at which maps are outlined.
const START = page.thresholds.image ?? page.thresholds.mask;

const gallery = {
  images: imagesOf(page.images),
  sheets: new Sheets(),
  store: new Store(async (number) => decodeRecord(await storedBlock("image", number), true)),
  marks: new Marks(page.images.name, `anomalib-zsad gallery ${location.pathname}`),
  threshold: START,
  outcome: "",
  select(number, chosen) {
    gallery.marks.select(number, chosen);
    showMarked();
  },
  tag(numbers, tags, replace = false) {
    if (replace) for (const number of numbers) gallery.marks.setTags(number, tags);
    else gallery.marks.addTags(numbers, tags);
    showMarked();
    listTags();
  },
};
const range = scoreRange(gallery.images, gallery.threshold);

function asked() {
  return {
    side: document.querySelector("input[name=side]:checked").value,
    outcome: gallery.outcome,
    folder: byId("folder").value,
    tag: byId("tag").value,
    selected: byId("only-selected").checked,
    search: byId("search").value,
    sort: byId("sort").value,
    threshold: gallery.threshold,
  };
}

function choose() {
  const chosen = chooseImages(gallery.images, asked(), gallery.marks);
  gallery.list.show(chosen);
  byId("count").textContent = `${chosen.length.toLocaleString("en")} image${chosen.length === 1 ? "" : "s"}`;
  byId("none").hidden = chosen.length > 0;
  byId("grid").hidden = chosen.length === 0;
}

function shapeOf(decision) {
  const svg = svgElement("svg", { class: `shape ${decision}`, viewBox: "-8 -8 16 16", "aria-hidden": "true" });
  svg.append(svgElement("path", { d: (SHAPES[decision] ?? SHAPES.blank)(5) }));
  return svg;
}

function makeTile(image) {
  const tile = make("div", `tile-item ${page.decided ? image.decision : ""}`);
  const button = make("button", "open");
  button.type = "button";
  button.dataset.number = image.number;
  button.addEventListener("click", () => gallery.large.open(image.number));
  if (image.score === null) button.append(make("span", "thumbnail none", UNREADABLE));
  else {
    const canvas = make("canvas", "thumbnail");
    canvas.width = canvas.height = 1;
    button.append(canvas);
    drawTile(canvas, image);
  }
  const line = make("span", "line-score");
  if (page.decided || image.score === null) line.append(shapeOf(image.decision));
  line.append(make("b", "", image.score === null ? "–" : formatScore(image.score)));
  if (image.std !== null) line.append(make("small", "", ` ± ${formatScore(image.std)}`));
  line.append(
    make(
      "small",
      "p",
      image.p !== null ? `p ${formatScore(image.p)}` : image.score === null ? "" : `rank ${image.number + 1}`,
    ),
  );
  button.append(line, make("span", "name", image.name));
  if (page.decided && image.score !== null) button.append(make("span", "hidden", inWords(image.decision)));
  tile.append(button, makeTick(image));
  return tile;
}

function makeTick(image) {
  const label = make("label", "tick");
  const tick = make("input");
  tick.type = "checkbox";
  tick.checked = gallery.marks.selected.has(image.number);
  tick.addEventListener("change", () => gallery.select(image.number, tick.checked));
  label.append(tick, make("span", "hidden", `Select ${image.name}`));
  return label;
}

async function drawTile(canvas, image) {
  const sheet = await gallery.sheets.get(image);
  if (!sheet) {
    canvas.replaceWith(make("span", "thumbnail none", "no room for a picture"));
    return;
  }
  paintThumbnail(canvas, image, sheet);
  if (byId("thumbnails").checked) {
    const heat = new OffscreenCanvas(1, 1);
    paintOverlay(heat, sheet.mapOf(image, 64), page.scales.map);
    const context = canvas.getContext("2d");
    context.globalAlpha = 0.7;
    context.drawImage(heat, 0, 0, canvas.width, canvas.height);
  }
  canvas.dataset.drawn = byId("thumbnails").checked;
}

function drawHistogram() {
  const svg = byId("histogram");
  const [width, height] = [svg.clientWidth || 600, svg.clientHeight || 110];
  const bins = histogramOf(gallery.images, range, BINS);
  const total = (bin) => bin.normal + bin.abnormal + bin.unknown;
  const most = Math.max(1, ...bins.map(total));
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const step = width / BINS;
  const bars = bins.flatMap((bin, place) => {
    let y = height;
    return ["normal", "unknown", "abnormal"]
      .filter((kind) => bin[kind])
      .map((kind) => {
        // The square root keeps single images in sight beside thousands.
        const tall = ((height - 4) * Math.sqrt(total(bin) / most) * bin[kind]) / total(bin);
        y -= tall;
        return svgElement("rect", {
          class: kind,
          x: place * step + 0.5,
          y,
          width: Math.max(1, step - 1),
          height: tall,
        });
      });
  });
  gallery.line = svgElement("line", { class: "threshold", y1: 0, y2: height });
  svg.replaceChildren(...bars, gallery.line);
  moveLine();
}

function moveLine() {
  const share = (gallery.threshold - range[0]) / (range[1] - range[0]);
  const x = share * (byId("histogram").clientWidth || 600);
  for (const end of ["x1", "x2"]) gallery.line.setAttribute(end, x);
}

// Everything that follows the slider, live.
function showThreshold() {
  const { threshold, images } = gallery;
  byId("threshold-value").textContent = formatScore(threshold);
  byId("threshold").setAttribute("aria-valuetext", formatScore(threshold));
  const sides = countBy(images, (image) => sideOf(image, threshold));
  for (const name of ["above", "below"]) {
    for (const place of document.querySelectorAll(`[data-count=${name}]`))
      place.textContent = (sides[name] ?? 0).toLocaleString("en");
  }
  const outcomes = countBy(images, (image) => outcomeOf(image, threshold));
  for (const place of document.querySelectorAll("[data-outcome]")) {
    place.querySelector("b").textContent = (outcomes[place.dataset.outcome] ?? 0).toLocaleString("en");
  }
  if (gallery.line) moveLine();
}

function setThreshold(value) {
  gallery.threshold = value;
  showThreshold();
  // The list follows where it depends on the threshold.
  const now = asked();
  if (now.side === "above" || now.side === "below" || now.outcome || now.sort === "near") choose();
}

function setOutcome(outcome) {
  gallery.outcome = gallery.outcome === outcome ? "" : outcome;
  for (const button of document.querySelectorAll("[data-outcome]")) {
    button.setAttribute("aria-pressed", String(button.dataset.outcome === gallery.outcome));
  }
  choose();
}

function showMarked() {
  const count = gallery.marks.selected.size;
  byId("selected-count").textContent = `${count.toLocaleString("en")} selected`;
  for (const tile of gallery.list.tiles.values()) {
    const number = Number(tile.querySelector(".open").dataset.number);
    tile.querySelector(".tick input").checked = gallery.marks.selected.has(number);
  }
  for (const name of ["clear", "add-tag"]) byId(name).disabled = count === 0;
}

function listTags() {
  const chosen = byId("tag").value;
  const known = gallery.marks.knownTags();
  byId("tag").replaceChildren(option("", "any tag, or none"), ...known.map((tag) => option(tag, tag)));
  byId("tag").value = known.includes(chosen) ? chosen : "";
}

function option(value, text) {
  const element = make("option", "", text);
  element.value = value;
  return element;
}

function listFolders() {
  const folders = foldersOf(gallery.images);
  byId("folder").append(...folders.map(([name, count]) => option(name, `${name} (${count.toLocaleString("en")})`)));
  byId("folder").closest("label").hidden = folders.length < 2;
}

// The selected images, or all of the list where none is selected, in the list's order.
function exported() {
  const { selected } = gallery.marks;
  return selected.size ? gallery.images.filter((image) => selected.has(image.number)) : gallery.list.images;
}

function exportTable() {
  const { threshold, marks } = gallery;
  offerFile(
    "images_of_interest.csv",
    csvOf(exported(), { threshold, root: page.root, marks, decided: page.decided }),
    "text/csv",
  );
}

function exportPaths() {
  offerFile(
    "paths.txt",
    exported()
      .map((image) => `${pathOf(page.root, image)}\n`)
      .join(""),
    "text/plain",
  );
}

function listen() {
  for (const name of ["folder", "tag", "only-selected", "sort"]) byId(name).addEventListener("change", choose);
  for (const choice of document.querySelectorAll("input[name=side]")) choice.addEventListener("change", choose);
  byId("search").addEventListener("input", choose);
  byId("thumbnails").addEventListener("change", () => gallery.list.show(gallery.list.images));
  byId("threshold").addEventListener("input", (event) => setThreshold(Number(event.target.value)));
  byId("threshold-reset").addEventListener("click", () => {
    byId("threshold").value = START;
    setThreshold(START);
  });
  for (const button of document.querySelectorAll("[data-outcome]"))
    button.addEventListener("click", () => setOutcome(button.dataset.outcome));
  byId("select-all").addEventListener("click", () => {
    for (const image of gallery.list.images) gallery.marks.selected.add(image.number);
    gallery.marks.save();
    showMarked();
  });
  byId("clear").addEventListener("click", () => {
    gallery.marks.selected.clear();
    gallery.marks.save();
    showMarked();
    if (byId("only-selected").checked) choose();
  });
  byId("add-tag").addEventListener("click", () =>
    gallery.tag([...gallery.marks.selected], tagsOf(byId("new-tag").value)),
  );
  byId("export-table").addEventListener("click", exportTable);
  byId("export-paths").addEventListener("click", exportPaths);
  new ResizeObserver(drawHistogram).observe(byId("histogram"));
  window.addEventListener("beforeprint", printSheet);
}

// What is printed is a contact sheet of the first images of the list as it is filtered.
function printSheet() {
  const sheet = byId("printed");
  const first = gallery.list.images.slice(0, PRINTED);
  sheet.replaceChildren(
    ...first.map((image) => {
      const tile = makeTile(image);
      tile.querySelector(".tick").remove();
      return tile;
    }),
  );
  byId("printed-note").textContent =
    `The first ${first.length} of ${gallery.list.images.length.toLocaleString("en")} images of the list as it is filtered.`;
}

function start() {
  gallery.list = new VirtualList(byId("grid"), makeTile, () =>
    window.innerWidth < 700 ? { width: 150, height: 208 } : { width: 190, height: 246 },
  );
  gallery.large = new LargeView(gallery);
  Object.assign(byId("threshold"), { min: range[0], max: range[1], step: (range[1] - range[0]) / 1000 });
  byId("threshold").value = gallery.threshold;
  listFolders();
  listTags();
  listen();
  choose();
  drawHistogram();
  showThreshold();
  showMarked();
  byId("stage").dataset.shown = "closed";
}

start();
